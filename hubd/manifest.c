/* SPDX-License-Identifier: MIT */
#include "hubd/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "common/utf8.h"
#include "hubd/manifest_keys.h"

#define PACKAGE_PATH "PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; "

/* clang-format off */
static const struct field service_fields[] = {
    F_STRING(struct manifest_service, name, FIELD_REQUIRED, .check = name_is_service, .must = "a service name"),
    F_STRING(struct manifest_service, version, FIELD_REQUIRED, .check = semver_is_valid, .must = "a version"),
    F_STRUCT(struct manifest_service, run, FIELD_REQUIRED, &run_spec_schema),
    F_PAIRS(struct manifest_service, depends, 0),
    F_STRV(struct manifest_service, routes, 0),
    F_LIST(struct manifest_service, route_rules, 0, &table_route_schema),
    F_INT(struct manifest_service, instances, 0, 0, INSTANCES_MAX),
    F_STRUCT(struct manifest_service, requests, FIELD_OMIT_EMPTY, &requests_spec_schema),
};
/* clang-format on */
const struct schema manifest_service_schema =
    SCHEMA("manifest", struct manifest_service, service_fields, false);

void manifest_clear(struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->n_services; i++)
        schema_clear(&manifest_service_schema, &manifest->services[i]);
    free(manifest->services);
    *manifest = (struct manifest){ 0 };
}

const struct manifest_service *manifest_get(const struct manifest *manifest, const char *service)
{
    for (size_t i = 0; i < manifest->n_services; i++)
        if (strcmp(manifest->services[i].name, service) == 0)
            return &manifest->services[i];
    return NULL;
}

/* A service as it is when nothing is said about it. */
static struct manifest_service *service_add(struct manifest *m, const char *name, const char *tag)
{
    m->services = xrealloc(m->services, (m->n_services + 1) * sizeof(*m->services));
    struct manifest_service *s = &m->services[m->n_services++];
    *s = (struct manifest_service){
        .name = xstrdup(name),
        .version = xstrdup(tag && semver_is_valid(tag) ? tag : MANIFEST_VERSION_DEFAULT),
        .instances = 1,
    };
    manifest_run_defaults(&s->run);
    return s;
}

/* --- stagecoach.json ------------------------------------------------------------------------------------- */

/* A route that two services of one manifest want would be refused at promotion; here it has a line. */
static int check_routes(struct manifest_reader *rd, const struct manifest *m, const struct json *services)
{
    for (size_t i = 0; i < m->n_services; i++)
        for (size_t j = 0; j < i; j++) {
            char *route;
            strv_for_each (route, m->services[i].routes)
                if (strv_contains(m->services[j].routes, route)) {
                    const struct json *at = json_get(json_get(services, m->services[i].name), "routes");
                    return error_set(rd->err, -EINVAL,
                        "%s:%d: route \"%s\" of \"%s\" is a route of \"%s\" already", rd->file, json_line(at),
                        route, m->services[i].name, m->services[j].name);
                }
        }
    return 0;
}

static int read_services(
    struct manifest_reader *rd, const struct json *services, const char *tag, struct manifest *m)
{
    if (!json_is(services, JSON_OBJECT))
        return manifest_bad(rd, services, "an object of services by name");
    if (json_size(services) == 0)
        return error_set(rd->err, -EINVAL, "%s:%d: \"services\" must name at least one service", rd->file,
            json_line(services));
    if (json_size(services) > MANIFEST_SERVICES_MAX)
        return error_set(rd->err, -EINVAL, "%s:%d: \"services\" may name at most %d services, not %zu",
            rd->file, json_line(services), MANIFEST_SERVICES_MAX, json_size(services));
    json_for_each(v, services)
    {
        if (!name_is_service(json_key(v))) {
            _cleanup_(strbuf_done) struct strbuf name = STRBUF_INIT;
            strbuf_add_printable(&name, json_key(v), strlen(json_key(v)), 60);
            return error_set(rd->err, -EINVAL,
                "%s:%d: \"%s\" is no service name: lower-case letters, digits and single \"-\" inside, "
                "beginning with a letter, at most %d characters",
                rd->file, json_line(v), strbuf_str(&name), NAME_SERVICE_MAX);
        }
        struct manifest_service *s = service_add(m, json_key(v), tag);
        int r = manifest_read_service(rd, v, s);
        if (r < 0)
            return r;
    }
    return check_routes(rd, m, services);
}

static int read_manifest(const struct manifest_source *src, struct manifest *m, struct error *err)
{
    m->file = "stagecoach.json";
    struct manifest_reader rd = { .file = m->file, .err = err };
    _cleanup_(json_freep) struct json *root = manifest_parse(&rd, src->manifest);
    if (!root)
        return -EINVAL;
    if (!json_is(root, JSON_OBJECT))
        return error_set(err, -EINVAL, "%s:%d: the file must be an object with the key \"services\"", rd.file,
            json_line(root));
    json_for_each(v, root) if (strcmp(json_key(v), "services") != 0)
    {
        static const char *const known[] = { "services", NULL };
        return manifest_unknown_key(&rd, v, NULL, known);
    }
    const struct json *services = json_get(root, "services");
    if (!services)
        return error_set(err, -EINVAL, "%s:%d: the key \"services\" is missing", rd.file, json_line(root));
    return read_services(&rd, services, src->tag, m);
}

/* --- package.json ---------------------------------------------------------------------------------------- */

/* "@acme/Shop_Web" → "shop-web"; the app's name where nothing legal comes out. */
static char *package_service_name(const char *name, const char *app)
{
    const char *slash = name ? strrchr(name, '/') : NULL;
    char *s = xstrdup(slash ? slash + 1 : name ? name : app);
    for (char *p = s; *p; p++)
        *p = (*p == '_' || *p == '.') ? '-' : (char)tolower((unsigned char)*p);
    if (!name_is_service(s)) {
        free(s);
        s = xstrdup(app);
    }
    return s;
}

static int package_string(
    struct manifest_reader *rd, const struct json *object, const char *key, const char **ret)
{
    const struct json *v = json_get(object, key);
    *ret = NULL;
    if (!v)
        return 0;
    if (!json_is(v, JSON_STRING))
        return manifest_bad(rd, v, "a string");
    *ret = json_string(v);
    return 0;
}

/* MANIFEST_ABSENT: there is no start script, so this is a package, not a program. */
static int read_package(const struct manifest_source *src, struct manifest *m, struct error *err)
{
    m->file = "package.json";
    struct manifest_reader rd = { .file = m->file, .err = err };
    _cleanup_(json_freep) struct json *root = manifest_parse(&rd, src->package);
    if (!root)
        return -EINVAL;
    if (!json_is(root, JSON_OBJECT))
        return error_set(err, -EINVAL, "%s:%d: the file must be an object", rd.file, json_line(root));
    const struct json *scripts = json_get(root, "scripts");
    if (scripts && !json_is(scripts, JSON_OBJECT))
        return manifest_bad(&rd, scripts, "an object");
    const char *start, *name, *version;
    int r = package_string(&rd, scripts, "start", &start);
    if (r == 0 && !start)
        return MANIFEST_ABSENT;
    if (r < 0 || (r = package_string(&rd, root, "name", &name)) < 0 ||
        (r = package_string(&rd, root, "version", &version)) < 0)
        return r;
    if (*start == '\0' || strlen(start) > MANIFEST_COMMAND_MAX)
        return manifest_bad(&rd, json_get(scripts, "start"), "a command");
    if (version && !semver_is_valid(version))
        return manifest_bad(&rd, json_get(root, "version"), "a version like \"1.2.3\"");

    _cleanup_(free_ptr) char *service = package_service_name(name, src->app);
    struct manifest_service *s = service_add(m, service, src->tag);
    if (version) {
        /* Build metadata is what the hub tells later commits of one version apart by. */
        _cleanup_(free_ptr) char *plain = xstrndup(version, strcspn(version, "+"));
        str_set(&s->version, plain);
    }
    _cleanup_(free_ptr) char *script = xasprintf(PACKAGE_PATH "%s", start);
    strv_push(&s->run.command, "/bin/sh");
    strv_push(&s->run.command, "-c");
    strv_push(&s->run.command, script);
    if (src->lockfile || json_size(json_get(root, "dependencies")) > 0)
        s->run.build = xstrdup(src->lockfile ? "npm ci" : "npm install --no-package-lock");
    manifest_run_finish(&s->run);
    return 0;
}

/* --- Procfile -------------------------------------------------------------------------------------------- */

static int procfile_line(const struct manifest_source *src, int line, const char *text, size_t len,
    struct manifest *m, struct error *err)
{
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    while (len > 0 && isspace((unsigned char)*text))
        text++, len--;
    if (len == 0 || *text == '#')
        return 0;
    bool is_text = utf8_is_valid(text, len);
    for (size_t i = 0; is_text && i < len; i++)
        is_text = (unsigned char)text[i] >= ' ' || text[i] == '\t';
    if (!is_text)
        return error_set(
            err, -EINVAL, "Procfile:%d: the line must be valid UTF-8 without control characters", line);
    size_t n = 0;
    while (n < len && (isalnum((unsigned char)text[n]) || text[n] == '_' || text[n] == '-'))
        n++;
    if (n == 0 || n == len || text[n] != ':')
        return error_set(err, -EINVAL, "Procfile:%d: a line must be \"type: command\"", line);
    _cleanup_(free_ptr) char *type = xstrndup(text, n);
    for (char *p = type; *p; p++)
        *p = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
    const char *command = text + n + 1, *end = text + len;
    while (command < end && isspace((unsigned char)*command))
        command++;
    if (command == end)
        return error_set(err, -EINVAL, "Procfile:%d: \"%s\" has no command", line, type);
    if (end - command > MANIFEST_COMMAND_MAX)
        return error_set(err, -EINVAL, "Procfile:%d: the command of \"%s\" is longer than %d bytes", line,
            type, MANIFEST_COMMAND_MAX);
    /* A release phase is a one-off task, not something to keep running. */
    if (strcmp(type, "release") == 0)
        return 0;
    bool web = strcmp(type, "web") == 0;
    _cleanup_(free_ptr) char *name = web ? xstrdup(src->app) : xasprintf("%s-%s", src->app, type);
    if (!name_is_service(name))
        return error_set(err, -EINVAL,
            "Procfile:%d: \"%s\" would be service \"%s\", which is no service name", line, type, name);
    if (manifest_get(m, name))
        return error_set(err, -EINVAL, "Procfile:%d: \"%s\" is there twice", line, type);
    if (m->n_services == MANIFEST_SERVICES_MAX)
        return error_set(err, -EINVAL, "Procfile:%d: more than %d types", line, MANIFEST_SERVICES_MAX);
    struct manifest_service *s = service_add(m, name, src->tag);
    s->run.port = web;
    strv_push(&s->run.command, "/bin/sh");
    strv_push(&s->run.command, "-c");
    strv_push_take(&s->run.command, xstrndup(command, (size_t)(end - command)));
    manifest_run_finish(&s->run);
    return 0;
}

static int read_procfile(const struct manifest_source *src, struct manifest *m, struct error *err)
{
    m->file = "Procfile";
    int line = 1;
    for (const char *p = src->procfile; *p; line++) {
        size_t len = strcspn(p, "\n");
        int r = procfile_line(src, line, p, len, m, err);
        if (r < 0)
            return r;
        p += len + (p[len] == '\n');
    }
    if (m->n_services == 0)
        return error_set(err, -EINVAL, "Procfile:1: there is no \"type: command\" line in it");
    return 0;
}

int manifest_read(const struct manifest_source *source, struct manifest *ret, struct error *err)
{
    struct manifest m = { 0 };
    int r = MANIFEST_ABSENT;
    if (source->manifest)
        r = read_manifest(source, &m, err);
    else if (source->package)
        r = read_package(source, &m, err);
    if (r == MANIFEST_ABSENT && source->procfile)
        r = read_procfile(source, &m, err);
    if (r != 0) {
        manifest_clear(&m);
        return r;
    }
    *ret = m;
    return 0;
}
