# bash completion for stagecoachctl: the program itself knows what can come next.

_stagecoachctl()
{
    local line=${COMP_LINE:0:COMP_POINT} word prefix
    local -a words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    mapfile -t COMPREPLY < <(stagecoachctl complete -- "${words[@]:1}" 2>/dev/null)
    # bash counts a word from its last "=", ":" or "@" on.
    prefix=${word%"${word##*[=:@]}"}
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}

complete -F _stagecoachctl stagecoachctl
