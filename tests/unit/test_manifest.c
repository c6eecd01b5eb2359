/* SPDX-License-Identifier: MIT */
#include "hubd/manifest.h"

#include "tests/unit/rows.h"

#include <errno.h>
#include <signal.h>

#include "common/mem.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"

/* The body is on line 5. */
#define WEB(body) "{\n  \"services\": {\n    \"web\": {\n      \"command\": \"x\",\n" body "\n    }\n  }\n}\n"
#define DESIGN                                                                                           \
    "{ \"services\": { \"web\": {\n"                                                                     \
    " \"version\": \"0.2.2\", \"build\": \"npm ci\", \"command\": [\"node\", \"server.js\"], \"port\": " \
    "true,\n"                                                                                            \
    " \"health\": { \"http\": \"/healthz\", \"interval\": \"1s\", \"timeout\": \"2s\", \"passes\": 3, "  \
    "\"deadline\": \"60s\" },\n"                                                                         \
    " \"depends\": { \"auth\": \"^0.1\", \"config:google_oauth\": \"1.x\" },\n"                          \
    " \"routes\": [ \"www.Example.com\", \"example.com/shop/\" ],\n"                                     \
    " \"instances\": 2, \"env\": { \"LOG_LEVEL\": \"info\" },\n"                                         \
    " \"limits\": { \"memory\": \"256M\", \"cpu\": \"50%\", \"tasks\": 100 },\n"                         \
    " \"requests\": { \"at_once\": 100, \"queue\": 0, \"wait\": \"5s\", \"retry\": false, "              \
    "\"slow_start\": \"30s\" },\n"                                                                       \
    " \"stop\": { \"signal\": \"SIGINT\", \"drain\": \"20s\", \"kill\": \"5s\" },\n"                     \
    " \"user\": \"dynamic\"\n"                                                                           \
    "} } }"

static int read_text(const char *text, struct manifest *m, struct error *err)
{
    struct manifest_source source = { .app = "shop", .manifest = text };
    return manifest_read(&source, m, err);
}

static void every_key_arrives(void **state)
{
    struct manifest m;
    struct error err = { 0 };
    assert_int_equal(read_text(DESIGN, &m, &err), 0);
    assert_int_equal(m.n_services, 1);
    const struct manifest_service *s = manifest_get(&m, "web");
    assert_non_null(s);
    assert_string_equal(m.file, "stagecoach.json");
    assert_string_equal(s->version, "0.2.2");
    assert_string_equal(s->run.build, "npm ci");
    assert_string_equal(s->run.command[0], "node");
    assert_string_equal(s->run.command[1], "server.js");
    assert_null(s->run.command[2]);
    assert_true(s->run.port);
    assert_int_equal(s->run.health.kind, HEALTH_HTTP);
    assert_string_equal(s->run.health.path, "/healthz");
    assert_int_equal(s->run.health.interval_ms, 1000);
    assert_int_equal(s->run.health.timeout_ms, 2000);
    assert_int_equal(s->run.health.passes, 3);
    assert_int_equal(s->run.health.deadline_ms, 60000);
    assert_string_equal(pairs_get(s->depends, "auth"), "^0.1");
    assert_string_equal(pairs_get(s->depends, "config:google_oauth"), "1.x");
    assert_string_equal(s->routes[0], "www.example.com");
    assert_string_equal(s->routes[1], "example.com/shop");
    assert_int_equal(s->instances, 2);
    assert_string_equal(pairs_get(s->run.env, "LOG_LEVEL"), "info");
    assert_int_equal(s->run.limits.memory_bytes, 256 << 20);
    assert_int_equal(s->run.limits.cpu_percent, 50);
    assert_int_equal(s->run.limits.tasks, 100);
    assert_int_equal(s->requests.at_once, 100);
    assert_int_equal(s->requests.queue, REQUESTS_NO_QUEUE);
    assert_int_equal(s->requests.wait_ms, 5000);
    assert_true(s->requests.no_retry);
    assert_int_equal(s->requests.slow_start_ms, 30000);
    assert_int_equal(s->run.stop.signal, SIGINT);
    assert_int_equal(s->run.stop.drain_ms, 20000);
    assert_int_equal(s->run.stop.kill_ms, 5000);
    assert_string_equal(s->run.user, "dynamic");
    manifest_clear(&m);
}

static void every_key_has_a_default(void **state)
{
    struct manifest m;
    assert_int_equal(read_text("{\"services\":{\"web\":{\"command\":\"node x\"}}}", &m, NULL), 0);
    const struct manifest_service *s = &m.services[0];
    assert_string_equal(s->version, "0.0.0");
    assert_null(s->run.build);
    assert_string_equal(s->run.command[0], "/bin/sh");
    assert_string_equal(s->run.command[1], "-c");
    assert_string_equal(s->run.command[2], "node x");
    assert_true(s->run.port);
    assert_int_equal(s->run.health.kind, HEALTH_TCP);
    assert_int_equal(s->run.health.interval_ms, 1000);
    assert_int_equal(s->run.health.passes, 3);
    assert_int_equal(s->instances, 1);
    assert_int_equal(s->run.limits.memory_bytes, 0);
    assert_int_equal(s->run.stop.signal, SIGTERM);
    assert_int_equal(s->run.stop.drain_ms, 30000);
    assert_int_equal(s->run.stop.kill_ms, 10000);
    assert_string_equal(s->run.user, "dynamic");
    manifest_clear(&m);
}

static void a_worker_stays_up(void **state)
{
    struct manifest m;
    assert_int_equal(read_text(WEB("\"port\": false"), &m, NULL), 0);
    assert_int_equal(m.services[0].run.health.kind, HEALTH_STAYS_UP);
    manifest_clear(&m);
}

static void kept_as_json_it_comes_back(void **state)
{
    struct manifest m;
    struct manifest_service copy;
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    assert_int_equal(read_text(DESIGN, &m, NULL), 0);
    schema_print(&manifest_service_schema, &m.services[0], &text);
    assert_int_equal(schema_read(&manifest_service_schema, text.data, text.len, &copy, NULL), 0);
    assert_true(schema_equal(&manifest_service_schema, &m.services[0], &copy));
    schema_clear(&manifest_service_schema, &copy);
    manifest_clear(&m);
}

/* clang-format off */
static const struct { const char *name, *text; } good[] = {
    { "tcp health",          WEB("\"health\": { \"tcp\": true }") },
    { "exec health, list",   WEB("\"health\": { \"exec\": [\"./ok\", \"-q\"] }") },
    { "exec health, string", WEB("\"health\": { \"exec\": \"./ok\" }") },
    { "notify health",       WEB("\"health\": { \"notify\": true }") },
    { "health of times",     WEB("\"health\": { \"interval\": \"250ms\", \"deadline\": \"5min\" }") },
    { "path with a query",   WEB("\"health\": { \"http\": \"/h?deep=1\" }") },
    { "build with a limit",  WEB("\"build\": { \"command\": \"make\", \"timeout\": \"2h\" }") },
    { "no instances",        WEB("\"instances\": 0") },
    { "most instances",      WEB("\"instances\": 1000") },
    { "wildcard route",      WEB("\"routes\": [\"*.example.com\", \"*\", \"*/api\"]") },
    { "no routes",           WEB("\"routes\": []") },
    { "route as object",     WEB("\"routes\": [{\"route\": \"a.example\"}, \"b.example\"]") },
    { "route with rules",    WEB("\"routes\": [{\"route\": \"a.example/x\", \"https\": true, \"hsts\": {\"max_age\": 60}, "
                                 "\"strip_prefix\": true, \"body_size\": \"10M\", \"timeout\": \"5s\", \"methods\": [\"GET\"], "
                                 "\"request_headers\": [{\"remove\": \"Cookie\"}], "
                                 "\"answer_headers\": [{\"set\": \"X-A\", \"value\": \"$version\"}]}]") },
    { "empty env value",     WEB("\"env\": { \"A\": \"\" }") },
    { "memory in bytes",     WEB("\"limits\": { \"memory\": 268435456 }") },
    { "memory in gigabytes", WEB("\"limits\": { \"memory\": \"2G\" }") },
    { "more than one core",  WEB("\"limits\": { \"cpu\": \"250%\" }") },
    { "no drain",            WEB("\"stop\": { \"drain\": \"0s\" }") },
    { "a user",              WEB("\"user\": \"www-data\"") },
    { "a pre-release",       WEB("\"version\": \"1.0.0-rc.1\"") },
    { "any dependency",      WEB("\"depends\": { \"auth\": \"*\" }") },
    { "or of ranges",        WEB("\"depends\": { \"auth\": \"^1 || ^2\" }") },
    { "worker with exec",    WEB("\"port\": false, \"health\": { \"exec\": \"true\" }") },
    { "unicode in env",      WEB("\"env\": { \"GREETING\": \"gr\\u00fc\\u00df Gott\" }") },
};

static const struct { const char *name, *text, *expected; } bad[] = {
    { "not json",          "{ services: }", "stagecoach.json:1: " },
    { "empty file",        "", "stagecoach.json:1: " },
    { "a list",            "[]", "stagecoach.json:1: the file must be an object with the key \"services\"" },
    { "no services",       "{}", "stagecoach.json:1: the key \"services\" is missing" },
    { "unknown top key",   "{\n \"service\": {} }", "stagecoach.json:2: unknown key \"service\", did you mean \"services\"?" },
    { "nothing like it",   "{ \"x\": 1 }", "stagecoach.json:1: unknown key \"x\"" },
    { "services a list",   "{ \"services\": [] }", "stagecoach.json:1: \"services\" must be an object of services by name, not a list" },
    { "services empty",    "{ \"services\": {} }", "stagecoach.json:1: \"services\" must name at least one service" },
    { "service name",      "{ \"services\": { \"Web\": {} } }", "stagecoach.json:1: \"Web\" is no service name: lower-case letters, digits and single \"-\" inside, beginning with a letter, at most 41 characters" },
    { "name with dots",    "{ \"services\": { \"../x\": {} } }", "stagecoach.json:1: \"../x\" is no service name: " },
    { "name with a dash",  "{ \"services\": { \"-web\": {} } }", "stagecoach.json:1: \"-web\" is no service name: " },
    { "double dash",       "{ \"services\": { \"a--b\": {} } }", "stagecoach.json:1: \"a--b\" is no service name: " },
    { "control character", "{ \"services\": { \"a\\u0007\": {} } }", "stagecoach.json:1: \"a\\x07\" is no service name: " },
    { "service a string",  "{ \"services\": { \"web\": \"x\" } }", "stagecoach.json:1: \"web\" must be an object, not \"x\"" },
    { "no command",        "{ \"services\": {\n \"web\": {} } }", "stagecoach.json:2: service \"web\" has no \"command\"" },
    { "unknown key",       WEB("\"instanses\": 2"), "stagecoach.json:5: unknown key \"instanses\" in service \"web\", did you mean \"instances\"?" },
    { "unknown, far off",  WEB("\"colour\": 2"), "stagecoach.json:5: unknown key \"colour\" in service \"web\"" },
    { "key twice",         WEB("\"port\": true, \"port\": false"), "stagecoach.json:5: " },
    { "instances word",    WEB("\"instances\": \"two\""), "stagecoach.json:5: \"instances\" must be a whole number from 0 to 1000, not \"two\"" },
    { "instances -1",      WEB("\"instances\": -1"), "stagecoach.json:5: \"instances\" must be a whole number from 0 to 1000, not -1" },
    { "instances 1001",    WEB("\"instances\": 1001"), "stagecoach.json:5: \"instances\" must be a whole number from 0 to 1000, not 1001" },
    { "instances 1.5",     WEB("\"instances\": 1.5"), "stagecoach.json:5: \"instances\" must be a whole number from 0 to 1000, not a number with a fraction or exponent" },
    { "instances null",    WEB("\"instances\": null"), "stagecoach.json:5: \"instances\" must be a whole number from 0 to 1000, not null" },
    { "version",           WEB("\"version\": \"1.2\""), "stagecoach.json:5: \"version\" must be a version like \"1.2.3\", not \"1.2\"" },
    { "version with v",    WEB("\"version\": \"v1.2.3\""), "stagecoach.json:5: \"version\" must be a version like \"1.2.3\", not \"v1.2.3\"" },
    { "version a number",  WEB("\"version\": 1"), "stagecoach.json:5: \"version\" must be a version like \"1.2.3\", not 1" },
    { "build metadata",    WEB("\"version\": \"1.2.3+g12345678\""), "stagecoach.json:5: \"version\" must be a version without \"+\", which marks later commits of a version, not \"1.2.3+g12345678\"" },
    { "command number",    "{\"services\":{\"web\":{\n\"command\": 5}}}", "stagecoach.json:2: \"command\" must be a command: a string, or a list of 1 to 256 strings, not 5" },
    { "command empty",     "{\"services\":{\"web\":{\n\"command\": \"\"}}}", "stagecoach.json:2: \"command\" must be a command: a string, or a list of 1 to 256 strings, not \"\"" },
    { "command blank",     "{\"services\":{\"web\":{\n\"command\": \" \"}}}", "stagecoach.json:2: \"command\" must be a command: a string, or a list of 1 to 256 strings, not \" \"" },
    { "command []",        "{\"services\":{\"web\":{\n\"command\": []}}}", "stagecoach.json:2: \"command\" must be a command: a string, or a list of 1 to 256 strings, not a list" },
    { "command [1]",       "{\"services\":{\"web\":{\n\"command\": [\"a\",\n1]}}}", "stagecoach.json:3: each of \"command\" must be a string, not 1" },
    { "command ['']",      "{\"services\":{\"web\":{\n\"command\": [\"\"]}}}", "stagecoach.json:2: each of \"command\" must be a program, for the first of them, not \"\"" },
    { "build true",        WEB("\"build\": true"), "stagecoach.json:5: \"build\" must be a command as one string, not true" },
    { "build a list",      WEB("\"build\": [\"make\"]"), "stagecoach.json:5: \"build\" must be a command as one string, not a list" },
    { "build without",     WEB("\"build\": { \"timeout\": \"1s\" }"), "stagecoach.json:5: \"build\" must have a \"command\"" },
    { "build time",        WEB("\"build\": { \"command\": \"a\", \"timeout\": \"9h\" }"), "stagecoach.json:5: \"timeout\" must be a duration from \"1s\" to \"6h\", not \"9h\"" },
    { "build key",         WEB("\"build\": { \"cmd\": \"a\" }"), "stagecoach.json:5: unknown key \"cmd\" in \"build\"" },
    { "port number",       WEB("\"port\": 8080"), "stagecoach.json:5: \"port\" must be true or false, not 8080" },
    { "health true",       WEB("\"health\": true"), "stagecoach.json:5: \"health\" must be an object, not true" },
    { "health key",        WEB("\"health\": { \"htpp\": \"/\" }"), "stagecoach.json:5: unknown key \"htpp\" in \"health\", did you mean \"http\"?" },
    { "two kinds",         WEB("\"health\": { \"http\": \"/\",\n\"tcp\": true }"), "stagecoach.json:6: \"health\" must have one of \"http\" and \"tcp\", not both" },
    { "path",              WEB("\"health\": { \"http\": \"healthz\" }"), "stagecoach.json:5: \"http\" must be a path like \"/healthz\", not \"healthz\"" },
    { "path with blank",   WEB("\"health\": { \"http\": \"/a b\" }"), "stagecoach.json:5: \"http\" must be a path like \"/healthz\", not \"/a b\"" },
    { "path with newline", WEB("\"health\": { \"http\": \"/a\\r\\nX: y\" }"), "stagecoach.json:5: \"http\" must be a path like \"/healthz\", not \"/a\\x0d\\x0aX: y\"" },
    { "path true",         WEB("\"health\": { \"http\": true }"), "stagecoach.json:5: \"http\" must be a path like \"/healthz\", not true" },
    { "tcp false",         WEB("\"health\": { \"tcp\": false }"), "stagecoach.json:5: \"tcp\" must be true, not false" },
    { "notify string",     WEB("\"health\": { \"notify\": \"yes\" }"), "stagecoach.json:5: \"notify\" must be true, not \"yes\"" },
    { "exec",              WEB("\"health\": { \"exec\": {} }"), "stagecoach.json:5: \"exec\" must be a command: a string, or a list of 1 to 256 strings, not an object" },
    { "interval",          WEB("\"health\": { \"interval\": \"1\" }"), "stagecoach.json:5: \"interval\" must be a duration from \"50ms\" to \"1h\", not \"1\"" },
    { "interval number",   WEB("\"health\": { \"interval\": 1 }"), "stagecoach.json:5: \"interval\" must be a duration from \"50ms\" to \"1h\", not 1" },
    { "interval short",    WEB("\"health\": { \"interval\": \"1ms\" }"), "stagecoach.json:5: \"interval\" must be a duration from \"50ms\" to \"1h\", not \"1ms\"" },
    { "timeout",           WEB("\"health\": { \"timeout\": \"11min\" }"), "stagecoach.json:5: \"timeout\" must be a duration from \"50ms\" to \"10min\", not \"11min\"" },
    { "passes",            WEB("\"health\": { \"passes\": 0 }"), "stagecoach.json:5: \"passes\" must be a whole number from 1 to 100, not 0" },
    { "deadline",          WEB("\"health\": { \"deadline\": \"0s\" }"), "stagecoach.json:5: \"deadline\" must be a duration from \"1s\" to \"1h\", not \"0s\"" },
    { "worker with http",  WEB("\"port\": false,\n\"health\": { \"http\": \"/\" }"), "stagecoach.json:6: \"http\" needs a port, and \"web\" has \"port\": false" },
    { "worker with tcp",   WEB("\"port\": false,\n\"health\": { \"tcp\": true }"), "stagecoach.json:6: \"tcp\" needs a port, and \"web\" has \"port\": false" },
    { "worker with route", WEB("\"routes\": [\"a.example\"], \"port\": false"), "stagecoach.json:5: \"routes\" needs a port, and \"web\" has \"port\": false" },
    { "depends list",      WEB("\"depends\": [\"auth\"]"), "stagecoach.json:5: \"depends\" must be an object of at most 100 services and ranges, not a list" },
    { "depends name",      WEB("\"depends\": { \"Auth\": \"1\" }"), "stagecoach.json:5: \"depends\" must name services or \"config:NAME\", not \"Auth\"" },
    { "depends config",    WEB("\"depends\": { \"config:\": \"1\" }"), "stagecoach.json:5: \"depends\" must name services or \"config:NAME\", not \"config:\"" },
    { "depends range",     WEB("\"depends\": { \"auth\": \"^x!\" }"), "stagecoach.json:5: \"auth\" must be a range of versions like \"^1.2\" or \"1.x\", not \"^x!\"" },
    { "depends on itself", WEB("\"depends\": { \"web\": \"1.x\" }"), "stagecoach.json:5: \"web\" can't depend on itself" },
    { "routes string",     WEB("\"routes\": \"a.example\""), "stagecoach.json:5: \"routes\" must be a list of at most 100 routes, not \"a.example\"" },
    { "route with scheme", WEB("\"routes\": [\"https://a.example\"]"), "stagecoach.json:5: each of \"routes\" must be a host name with or without a path, like \"example.com/shop\", not \"https://a.example\"" },
    { "route with port",   WEB("\"routes\": [\"a.example:80\"]"), "stagecoach.json:5: each of \"routes\" must be a host name with or without a path, like \"example.com/shop\", not \"a.example:80\"" },
    { "route climbs",      WEB("\"routes\": [\"a.example/../x\"]"), "stagecoach.json:5: each of \"routes\" must be a host name with or without a path, like \"example.com/shop\", not \"a.example/../x\"" },
    { "route number",      WEB("\"routes\": [\n7]"), "stagecoach.json:6: each of \"routes\" must be a host name with or without a path, like \"example.com/shop\", not 7" },
    { "route key",         WEB("\"routes\": [{\"route\": \"a.example\", \"http\": true}]"), "stagecoach.json:5: unknown key \"http\" in a route, did you mean \"https\"?" },
    { "route of nothing",  WEB("\"routes\": [{\"https\": true}]"), "stagecoach.json:5: a route must have a \"route\"" },
    { "route in object",   WEB("\"routes\": [{\"route\": \"a:80\"}]"), "stagecoach.json:5: \"route\" must be a host name with or without a path, like \"example.com/shop\", not \"a:80\"" },
    { "route twice, once with rules", WEB("\"routes\": [\"a.example\",\n{\"route\": \"a.example/\", \"https\": true}]"), "stagecoach.json:6: route \"a.example\" is there twice" },
    { "nothing to strip",  WEB("\"routes\": [{\"route\": \"a.example\", \"strip_prefix\": true}]"), "stagecoach.json:5: a.example: strip_prefix, but there is no path to strip" },
    { "field of ours",     WEB("\"routes\": [{\"route\": \"a.example\", \"request_headers\": [{\"set\": \"Host\", \"value\": \"x\"}]}]"), "stagecoach.json:5: a.example: request_headers: the field Host is the router's own" },
    { "hsts key",          WEB("\"routes\": [{\"route\": \"a.example\", \"hsts\": {\"age\": 1}}]"), "stagecoach.json:5: hsts.age: is not known here" },
    { "files of the host", WEB("\"routes\": [{\"route\": \"a.example\", \"files\": \"/etc\"}]"), "stagecoach.json:5: unknown key \"files\" in a route" },
    { "method",            WEB("\"routes\": [{\"route\": \"a.example\", \"methods\": [\"TRACE\"]}]"), "stagecoach.json:5: each of \"methods\" must be a method in capitals other than CONNECT and TRACE, not \"TRACE\"" },
    { "body size",         WEB("\"routes\": [{\"route\": \"a.example\", \"body_size\": \"lots\"}]"), "stagecoach.json:5: \"body_size\" must be a size from \"1\" to \"1T\", not \"lots\"" },
    { "route twice",       WEB("\"routes\": [\"a.example\",\n\"A.example/\"]"), "stagecoach.json:6: route \"a.example\" is there twice" },
    { "env list",          WEB("\"env\": [\"A=b\"]"), "stagecoach.json:5: \"env\" must be an object of at most 200 strings, not a list" },
    { "env name",          WEB("\"env\": { \"A B\": \"x\" }"), "stagecoach.json:5: \"A B\" is no name of an environment variable" },
    { "env with =",        WEB("\"env\": { \"A=B\": \"x\" }"), "stagecoach.json:5: \"A=B\" is no name of an environment variable" },
    { "env number",        WEB("\"env\": { \"A\": 1 }"), "stagecoach.json:5: \"A\" must be a string of at most 32 KiB, not 1" },
    { "env PORT",          WEB("\"env\": { \"PORT\": \"1\" }"), "stagecoach.json:5: \"PORT\" is set for each instance and can't be set in \"env\"" },
    { "env STAGECOACH_",   WEB("\"env\": { \"STAGECOACH_HOST\": \"1\" }"), "stagecoach.json:5: \"STAGECOACH_HOST\" is set for each instance and can't be set in \"env\"" },
    { "requests key",      WEB("\"requests\": { \"max\": 1 }"), "stagecoach.json:5: unknown key \"max\" in \"requests\"" },
    { "requests at once",  WEB("\"requests\": { \"at_once\": 0 }"), "stagecoach.json:5: \"at_once\" must be a whole number from 1 to 1000000, not 0" },
    { "requests wait",     WEB("\"requests\": { \"wait\": 5 }"), "stagecoach.json:5: \"wait\" must be a duration from \"100ms\" to \"1h\", not 5" },
    { "requests retry",    WEB("\"requests\": { \"retry\": 2 }"), "stagecoach.json:5: \"retry\" must be true or false, not 2" },
    { "requests of a worker", WEB("\"port\": false, \"requests\": {}"), "stagecoach.json:5: \"requests\" needs a port, and \"web\" has \"port\": false" },
    { "limits key",        WEB("\"limits\": { \"mem\": \"1M\" }"), "stagecoach.json:5: unknown key \"mem\" in \"limits\"" },
    { "memory",            WEB("\"limits\": { \"memory\": \"lots\" }"), "stagecoach.json:5: \"memory\" must be a size from \"4M\" to \"16T\", not \"lots\"" },
    { "memory small",      WEB("\"limits\": { \"memory\": \"1K\" }"), "stagecoach.json:5: \"memory\" must be a size from \"4M\" to \"16T\", not \"1K\"" },
    { "memory too large",  WEB("\"limits\": { \"memory\": \"99999999999999T\" }"), "stagecoach.json:5: \"memory\" must be a size from \"4M\" to \"16T\", not \"99999999999999T\"" },
    { "cpu",               WEB("\"limits\": { \"cpu\": \"0.5\" }"), "stagecoach.json:5: \"cpu\" must be a percentage of one core like \"50%\", not \"0.5\"" },
    { "cpu 0",             WEB("\"limits\": { \"cpu\": \"0%\" }"), "stagecoach.json:5: \"cpu\" must be a percentage of one core like \"50%\", not \"0%\"" },
    { "tasks",             WEB("\"limits\": { \"tasks\": 0 }"), "stagecoach.json:5: \"tasks\" must be a whole number from 1 to 1000000, not 0" },
    { "signal",            WEB("\"stop\": { \"signal\": \"TERM\" }"), "stagecoach.json:5: \"signal\" must be a signal like \"SIGTERM\", \"SIGINT\", \"SIGQUIT\" or \"SIGUSR1\", not \"TERM\"" },
    { "signal number",     WEB("\"stop\": { \"signal\": 15 }"), "stagecoach.json:5: \"signal\" must be a signal like \"SIGTERM\", \"SIGINT\", \"SIGQUIT\" or \"SIGUSR1\", not 15" },
    { "drain",             WEB("\"stop\": { \"drain\": \"25h\" }"), "stagecoach.json:5: \"drain\" must be a duration from \"0s\" to \"24h\", not \"25h\"" },
    { "kill",              WEB("\"stop\": { \"kill\": \"0s\" }"), "stagecoach.json:5: \"kill\" must be a duration from \"100ms\" to \"1h\", not \"0s\"" },
    { "user",              WEB("\"user\": \"a b\""), "stagecoach.json:5: \"user\" must be \"dynamic\" or the name of a user, not \"a b\"" },
    { "user dash",         WEB("\"user\": \"-x\""), "stagecoach.json:5: \"user\" must be \"dynamic\" or the name of a user, not \"-x\"" },
    { "user null",         WEB("\"user\": null"), "stagecoach.json:5: \"user\" must be \"dynamic\" or the name of a user, not null" },
    { "same route", "{\"services\": {\"a\": {\"command\": \"x\", \"routes\": [\"a.example\"]},\n\"b\": {\"command\": \"x\", \"routes\": [\"a.example\"]}}}",
      "stagecoach.json:2: route \"a.example\" of \"b\" is a route of \"a\" already" },
    { "text behind",       "{\"services\":{\"web\":{\"command\":\"x\"}}} x", "stagecoach.json:1: " },
};
/* clang-format on */

static void good_ones_are_taken(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct manifest m;
        struct error err = { 0 };
        int r = read_text(good[i].text, &m, &err);
        row_str(good[i].name, err.text, "");
        row_int(good[i].name, r, 0);
        manifest_clear(&m);
    }
}

static void bad_ones_are_refused_with_line_and_key(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct manifest m = { 0 };
        struct error err = { 0 };
        row_true(bad[i].name, read_text(bad[i].text, &m, &err) < 0);
        /* Where the JSON reader or a long rule has the last word, only its beginning is fixed here. */
        size_t len = strlen(bad[i].expected);
        if (bad[i].expected[len - 2] == ':')
            err.text[len] = '\0';
        row_str(bad[i].name, err.text, bad[i].expected);
        row_int(bad[i].name, (long)m.n_services, 0);
    }
}

static void too_much_is_refused(void **state)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    struct manifest m;
    struct error err = { 0 };
    strbuf_adds(&text, "{\"services\":{");
    for (int i = 0; i <= MANIFEST_SERVICES_MAX; i++)
        strbuf_addf(&text, "%s\"s%d\":{\"command\":\"x\"}", i ? "," : "", i);
    strbuf_adds(&text, "}}");
    assert_true(read_text(text.data, &m, &err) < 0);
    assert_string_equal(err.text, "stagecoach.json:1: \"services\" may name at most 100 services, not 101");

    strbuf_clear(&text);
    strbuf_adds(&text, "{\"services\":{\"web\":{\"command\":[\"x\",\"");
    for (int i = 0; i < MANIFEST_COMMAND_MAX; i++)
        strbuf_addc(&text, 'a');
    strbuf_adds(&text, "\"]}}}");
    assert_true(read_text(text.data, &m, &err) < 0);
    assert_string_equal(
        err.text, "stagecoach.json:1: \"command\" must be at most 32768 bytes long, not 32771");

    strbuf_clear(&text);
    strbuf_adds(&text, "{\"services\":{\"web\":{\"command\":\"x\",\"env\":{");
    for (int i = 0; i < 10; i++) {
        strbuf_addf(&text, "%s\"A%d\":\"", i ? "," : "", i);
        for (int k = 0; k < 20000; k++)
            strbuf_addc(&text, 'a');
        strbuf_addc(&text, '"');
    }
    strbuf_adds(&text, "}}}}");
    assert_true(read_text(text.data, &m, &err) < 0);
    assert_string_equal(err.text, "stagecoach.json:1: \"env\" must be at most 131072 bytes long, not 200040");
}

/* --- package.json, Procfile ------------------------------------------------------------------------------------ */

/* clang-format off */
static const struct {
    const char *name, *package, *procfile, *tag;
    bool lockfile;
    const char *expected; /* "service@version build | command" of each, or the refusal */
} others[] = {
    { "nothing there", NULL, NULL, NULL, false, "absent" },
    { "a node app", "{\"name\":\"shop-web\",\"version\":\"1.4.0\",\"scripts\":{\"start\":\"node .\"}}", NULL, NULL, false,
      "shop-web@1.4.0 port - | PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; node .\n" },
    { "with a lock file", "{\"name\":\"a\",\"version\":\"1.4.0\",\"scripts\":{\"start\":\"x\"}}", NULL, NULL, true,
      "a@1.4.0 port npm ci | PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; x\n" },
    { "with dependencies", "{\"name\":\"a\",\"scripts\":{\"start\":\"x\"},\"dependencies\":{\"express\":\"4\"}}", NULL, "2.0.0", false,
      "a@2.0.0 port npm install --no-package-lock | PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; x\n" },
    { "scoped name", "{\"name\":\"@acme/Shop_Web\",\"scripts\":{\"start\":\"x\"}}", NULL, NULL, false,
      "shop-web@0.0.0 port - | PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; x\n" },
    { "no legal name", "{\"name\":\"--\",\"scripts\":{\"start\":\"x\"}}", NULL, NULL, false,
      "shop@0.0.0 port - | PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; x\n" },
    { "version with build", "{\"version\":\"1.0.0+7\",\"scripts\":{\"start\":\"x\"}}", NULL, NULL, false,
      "shop@1.0.0 port - | PATH=\"$PWD/node_modules/.bin:$PATH\"; export PATH; x\n" },
    { "a library", "{\"name\":\"lib\",\"version\":\"1.0.0\"}", NULL, NULL, false, "absent" },
    { "a library with a Procfile", "{\"name\":\"lib\"}", "web: node x\n", "1.2.3", false, "shop@1.2.3 port - | node x\n" },
    { "package version", "{\n\"version\":\"one\",\"scripts\":{\"start\":\"x\"}}", NULL, NULL, false,
      "package.json:2: \"version\" must be a version like \"1.2.3\", not \"one\"" },
    { "package start", "{\"scripts\":{\"start\":1}}", NULL, NULL, false, "package.json:1: \"start\" must be a string, not 1" },
    { "package scripts", "{\"scripts\":[]}", NULL, NULL, false, "package.json:1: \"scripts\" must be an object, not a list" },
    { "package a list", "[]", NULL, NULL, false, "package.json:1: the file must be an object" },
    { "Procfile", NULL, "# types\nweb: bundle exec puma -p $PORT\n\nworker:  rake jobs  \r\nurgent_worker: rake q=1\nrelease: rake migrate\n", "0.3.0", false,
      "shop@0.3.0 port - | bundle exec puma -p $PORT\nshop-worker@0.3.0 worker - | rake jobs\nshop-urgent-worker@0.3.0 worker - | rake q=1\n" },
    { "no tag", NULL, "web: x", NULL, false, "shop@0.0.0 port - | x\n" },
    { "odd tag", NULL, "web: x", "latest", false, "shop@0.0.0 port - | x\n" },
    { "Procfile line", NULL, "web: x\nnonsense\n", NULL, false, "Procfile:2: a line must be \"type: command\"" },
    { "Procfile controls", NULL, "web: a\nx: \x1b[31m\n", NULL, false, "Procfile:2: the line must be valid UTF-8 without control characters" },
    { "Procfile bytes", NULL, "web: \xff\n", NULL, false, "Procfile:1: the line must be valid UTF-8 without control characters" },
    { "Procfile command", NULL, "web:\n", NULL, false, "Procfile:1: \"web\" has no command" },
    { "Procfile twice", NULL, "web: a\nweb: b\n", NULL, false, "Procfile:2: \"web\" is there twice" },
    { "Procfile name", NULL, "-: b\n", NULL, false, "Procfile:1: \"-\" would be service \"shop--\", which is no service name" },
    { "Procfile empty", NULL, "# nothing\n", NULL, false, "Procfile:1: there is no \"type: command\" line in it" },
};
/* clang-format on */

static void packages_and_procfiles(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct manifest m = { 0 };
        struct error err = { 0 };
        _cleanup_(strbuf_done) struct strbuf is = STRBUF_INIT;
        struct manifest_source source = {
            .app = "shop",
            .package = others[i].package,
            .procfile = others[i].procfile,
            .tag = others[i].tag,
            .lockfile = others[i].lockfile,
        };
        int r = manifest_read(&source, &m, &err);
        if (r != 0)
            strbuf_adds(&is, r == MANIFEST_ABSENT ? "absent" : err.text);
        for (size_t k = 0; k < m.n_services; k++) {
            const struct manifest_service *s = &m.services[k];
            strbuf_addf(&is, "%s@%s %s %s | %s\n", s->name, s->version, s->run.port ? "port" : "worker",
                s->run.build ? s->run.build : "-", s->run.command[2]);
            row_int(others[i].name, s->run.health.kind, s->run.port ? HEALTH_TCP : HEALTH_STAYS_UP);
        }
        row_str(others[i].name, strbuf_str(&is), others[i].expected);
        manifest_clear(&m);
    }
}

static void the_manifest_goes_first(void **state)
{
    struct manifest m;
    struct manifest_source source = {
        .app = "shop",
        .manifest = "{\"services\":{\"web\":{\"command\":\"x\"}}}",
        .package = "not json",
        .procfile = "not one",
        .tag = "3.0.0",
    };
    assert_int_equal(manifest_read(&source, &m, NULL), 0);
    assert_string_equal(m.services[0].version, "3.0.0");
    manifest_clear(&m);
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } rows[] = { { "0", 0 }, { "17", 17 }, { "64K", 65536 }, { "1m", 1 << 20 }, { "2G", INT64_C(2) << 30 },
        { "1T", INT64_C(1) << 40 }, { "", -1 }, { "K", -1 }, { "1KB", -1 }, { "-1", -1 }, { "1.5G", -1 },
        { "99999999999999999999", -1 }, { " 1", -1 } };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int64_t bytes = -1;
        row_int(rows[i].text, manifest_size_parse(rows[i].text, &bytes), rows[i].bytes < 0 ? -EINVAL : 0);
        row_int(rows[i].text, bytes, rows[i].bytes);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_arrives),
        cmocka_unit_test(every_key_has_a_default),
        cmocka_unit_test(a_worker_stays_up),
        cmocka_unit_test(kept_as_json_it_comes_back),
        cmocka_unit_test(good_ones_are_taken),
        cmocka_unit_test(bad_ones_are_refused_with_line_and_key),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(packages_and_procfiles),
        cmocka_unit_test(the_manifest_goes_first),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
