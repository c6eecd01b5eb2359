/* SPDX-License-Identifier: MIT */

/* main() of a fuzz target where there is no fuzzer: each file of the folders named is tried as it is, cut off
 * at every length, and with each byte changed in some ways. A fault shows as a crash or a sanitizer's report. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "tests/fuzz/target.h"

#define INPUT_MAX  (1024 * 1024)
#define SPOILT_MAX 4096 /* larger inputs are only tried as they are */
#define TRIES_MAX  2000 /* of one file: the step between spoilt bytes grows with its size */

static const unsigned char replacements[] = { 0x00, '"', '\\', '{', ']', ',', '9', '-', 0x7F, 0x80, 0xC3,
    0xED, 0xFF };

static size_t n_tried;

/* From the heap and of exactly its size, so that a sanitizer sees a byte too many. */
static void try_input(const unsigned char *data, size_t len)
{
    unsigned char *copy = calloc(1, len ? len : 1);

    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    n_tried++;
}

static void try_spoilt(unsigned char *data, size_t len)
{
    size_t step = 1 + len * (ARRAY_SIZE(replacements) + 1) / TRIES_MAX;

    for (size_t cut = 0; cut < len; cut += step)
        try_input(data, cut);
    for (size_t i = 0; i < len; i += step) {
        unsigned char before = data[i];
        for (size_t k = 0; k < ARRAY_SIZE(replacements); k++) {
            data[i] = replacements[k];
            try_input(data, len);
        }
        data[i] = before;
    }
}

static int replay_file(const char *path)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    struct error err = { 0 };

    if (statefile_read(path, INPUT_MAX, &text, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    strbuf_reserve(&text, 1);
    try_input((unsigned char *)text.data, text.len);
    if (text.len <= SPOILT_MAX)
        try_spoilt((unsigned char *)text.data, text.len);
    return 0;
}

/* The number of files in it, or negative. */
static int replay_folder(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    if (!dir) {
        perror(path);
        return -1;
    }
    for (struct dirent *e; n >= 0 && (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        char *file = xasprintf("%s/%s", path, e->d_name);
        n = replay_file(file) < 0 ? -1 : n + 1;
        free(file);
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int n_files = 0;

    try_input((const unsigned char *)"", 0);
    for (int i = 1; i < argc; i++) {
        int n = replay_folder(argv[i]);
        if (n <= 0) {
            fprintf(stderr, "%s: no inputs\n", argv[i]);
            return 1;
        }
        n_files += n;
    }
    printf("%d files, %zu inputs\n", n_files, n_tried);
    return n_files > 0 ? 0 : 1;
}
