/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/list.h"
#include "common/mem.h"

#define HEAD_MAX 8192

struct conn;

struct place {
    struct fake_service *service;
    int number, fd; /* -1: does not listen */
    struct sockaddr_storage sa;
    socklen_t sa_len;
    char address[128];
    struct list conns;
    _Atomic int illness, error_percent, delay_ms, probe_status;
    _Atomic int64_t requests, probes, at_once, peak;
};

struct conn {
    struct list link;
    struct place *place;
    int fd;
    size_t n;
    bool closed, busy, probe;
    int64_t serial; /* of its request */
    int64_t due_us; /* of the answer; 0: none is due */
    char in[HEAD_MAX];
};

struct fake_service {
    int n;
    enum fake_place kind;
    char dir[64];
    struct place *places;
    int epoll_fd, wake_fd;
    pthread_t thread;
    _Atomic bool stopping;
    _Atomic uint64_t asked, done; /* changes of illness */
    uint64_t random;
};

static void die(const char *what)
{
    perror(what);
    abort();
}

/* --- listening ------------------------------------------------------------------------------------------- */

static void watch(struct fake_service *s, int fd, void *ptr)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = ptr };
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
        die("epoll_ctl");
}

static void start_listening(struct place *p)
{
    int one = 1, family = p->sa.ss_family;
    p->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (family == AF_UNIX)
        unlink(((struct sockaddr_un *)&p->sa)->sun_path);
    else
        setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&p->sa, p->sa_len) < 0 || listen(p->fd, 512) < 0)
        die("can't listen");
    p->sa_len = sizeof(p->sa);
    getsockname(p->fd, (struct sockaddr *)&p->sa, &p->sa_len);
    watch(p->service, p->fd, p);
}

static void make_address(struct place *p)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&p->sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&p->sa;
    struct sockaddr_un *un = (struct sockaddr_un *)&p->sa;
    switch (p->service->kind) {
    case FAKE_IPV4:
        *v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        p->sa_len = sizeof(*v4);
        break;
    case FAKE_IPV6:
        *v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        p->sa_len = sizeof(*v6);
        break;
    case FAKE_UNIX:
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof(un->sun_path), "%s/%d.sock", p->service->dir, p->number);
        p->sa_len = sizeof(*un);
        break;
    }
    start_listening(p);
    if (p->service->kind == FAKE_IPV4)
        snprintf(p->address, sizeof(p->address), "127.0.0.1:%d", ntohs(v4->sin_port));
    else if (p->service->kind == FAKE_IPV6)
        snprintf(p->address, sizeof(p->address), "[::1]:%d", ntohs(v6->sin6_port));
    else
        snprintf(p->address, sizeof(p->address), "unix:%s", un->sun_path);
}

/* --- connections ----------------------------------------------------------------------------------------- */

/* Its memory stays until the place's end of turn: an event may still name it. */
static void close_conn(struct conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    if (c->busy && !c->probe)
        atomic_fetch_sub(&c->place->at_once, 1);
    close(c->fd);
}

static void answer(struct conn *c)
{
    struct place *p = c->place;
    char text[256], number[16];
    int illness = p->illness, status = illness == FAKE_ERRORS ? 500 : 200;
    int percent = p->error_percent;
    p->service->random = p->service->random * 6364136223846793005U + 1442695040888963407U;
    if (percent > 0 && (int)(p->service->random >> 33) % 100 < percent)
        status = 500;
    if (c->probe)
        status = p->probe_status;
    snprintf(number, sizeof(number), "%d", p->number);
    int n = snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\nX-Serial: %lld\r\nContent-Length: %zu\r\n\r\n%s",
        status, (long long)c->serial, strlen(number), number);
    if (!c->probe)
        atomic_fetch_sub(&p->at_once, 1);
    c->busy = false;
    c->due_us = 0;
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        close_conn(c);
}

static void on_request(struct conn *c)
{
    struct place *p = c->place;
    c->probe = strncmp(c->in, "GET /probe ", 11) == 0;
    c->busy = true;
    if (c->probe) {
        p->probes++;
    } else {
        c->serial = ++p->requests;
        int64_t now = atomic_fetch_add(&p->at_once, 1) + 1;
        if (now > p->peak)
            p->peak = now;
    }
    if (p->illness == FAKE_CLOSES)
        close_conn(c);
    else if (p->illness != FAKE_HANGS && p->delay_ms == 0)
        answer(c);
    else if (p->illness != FAKE_HANGS)
        c->due_us = clock_mono().us + p->delay_ms * 1000;
}

static void on_readable(struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->n, sizeof(c->in) - c->n - 1, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            close_conn(c);
        return;
    }
    c->n += (size_t)n;
    c->in[c->n] = '\0';
    char *end;
    while (!c->closed && !c->busy && (end = strstr(c->in, "\r\n\r\n"))) {
        on_request(c);
        c->n -= (size_t)(end + 4 - c->in);
        memmove(c->in, end + 4, c->n + 1);
    }
}

static void on_connection(struct place *p)
{
    int one = 1, fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (p->service->kind != FAKE_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct conn *c = xcalloc(1, sizeof(*c));
    c->place = p;
    c->fd = fd;
    list_append(&p->conns, &c->link);
    watch(p->service, fd, c);
}

static void close_all(struct place *p)
{
    struct conn *c, *next;
    list_for_each_safe (c, next, &p->conns, link)
        close_conn(c);
}

/* --- the thread ------------------------------------------------------------------------------------------ */

static void follow_illness(struct fake_service *s)
{
    uint64_t asked = s->asked;
    for (int i = 0; i < s->n; i++) {
        struct place *p = &s->places[i];
        if (p->illness == FAKE_REFUSES && p->fd >= 0) {
            close(p->fd);
            p->fd = -1;
            close_all(p);
        } else if (p->illness != FAKE_REFUSES && p->fd < 0) {
            start_listening(p);
        }
    }
    s->done = asked;
}

/* True while answers are due later. */
static bool sweep(struct fake_service *s)
{
    int64_t now_us = clock_mono().us;
    bool later = false;
    for (int i = 0; i < s->n; i++) {
        struct conn *c, *next;
        list_for_each_safe (c, next, &s->places[i].conns, link) {
            if (!c->closed && c->due_us > 0 && c->due_us <= now_us)
                answer(c);
            later |= !c->closed && c->due_us > 0;
            if (!c->closed)
                continue;
            list_remove(&c->link);
            free(c);
        }
    }
    return later;
}

static bool is_place(const struct fake_service *s, const void *ptr)
{
    return (const struct place *)ptr >= s->places && (const struct place *)ptr < s->places + s->n;
}

static void *run(void *arg)
{
    struct fake_service *s = arg;
    bool later = false;
    while (!s->stopping) {
        struct epoll_event events[256];
        int n = epoll_wait(s->epoll_fd, events, 256, later ? 1 : -1);
        for (int i = 0; i < n; i++) {
            uint64_t ignored;
            void *ptr = events[i].data.ptr;
            if (!ptr)
                (void)!read(s->wake_fd, &ignored, sizeof(ignored));
            else if (is_place(s, ptr))
                on_connection(ptr);
            else if (!((struct conn *)ptr)->closed)
                on_readable(ptr);
        }
        follow_illness(s);
        later = sweep(s);
    }
    return NULL;
}

static void wake(struct fake_service *s)
{
    uint64_t one = 1;
    (void)!write(s->wake_fd, &one, sizeof(one));
}

/* --- what tests ask -------------------------------------------------------------------------------------- */

struct fake_service *fake_service_new(int n, enum fake_place kind)
{
    struct fake_service *s = xcalloc(1, sizeof(*s));
    s->n = n;
    s->kind = kind;
    s->random = 1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    watch(s, s->wake_fd, NULL);
    snprintf(s->dir, sizeof(s->dir), "/tmp/fake-service-XXXXXX");
    if (!mkdtemp(s->dir))
        die("mkdtemp");
    s->places = xcalloc((size_t)n, sizeof(*s->places));
    for (int i = 0; i < n; i++) {
        struct place *p = &s->places[i];
        p->service = s;
        p->number = i;
        p->probe_status = 200;
        list_init(&p->conns);
        make_address(p);
    }
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        die("pthread_create");
    return s;
}

void fake_service_free(struct fake_service *s)
{
    if (!s)
        return;
    s->stopping = true;
    wake(s);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < s->n; i++) {
        close_all(&s->places[i]);
        if (s->places[i].fd >= 0)
            close(s->places[i].fd);
        if (s->kind == FAKE_UNIX)
            unlink(s->places[i].address + 5);
    }
    sweep(s);
    rmdir(s->dir);
    close(s->epoll_fd);
    close(s->wake_fd);
    free(s->places);
    free(s);
}

const char *fake_service_address(const struct fake_service *s, int i)
{
    return s->places[i].address;
}

void fake_service_set(struct fake_service *s, int i, enum fake_illness illness)
{
    s->places[i].illness = illness;
    uint64_t mine = ++s->asked;
    wake(s);
    while (s->done < mine)
        usleep(500);
}

void fake_service_error_percent(struct fake_service *s, int i, int percent)
{
    s->places[i].error_percent = percent;
}

void fake_service_delay(struct fake_service *s, int i, int ms)
{
    s->places[i].delay_ms = ms;
}

void fake_service_probes(struct fake_service *s, int i, int status)
{
    s->places[i].probe_status = status;
}

int64_t fake_service_requests(const struct fake_service *s, int i)
{
    return s->places[i].requests;
}

int64_t fake_service_probe_requests(const struct fake_service *s, int i)
{
    return s->places[i].probes;
}

int64_t fake_service_all_requests(const struct fake_service *s)
{
    int64_t sum = 0;
    for (int i = 0; i < s->n; i++)
        sum += s->places[i].requests;
    return sum;
}

int64_t fake_service_peak(const struct fake_service *s, int i)
{
    return s->places[i].peak;
}

void fake_service_clear(struct fake_service *s)
{
    for (int i = 0; i < s->n; i++)
        s->places[i].requests = s->places[i].probes = s->places[i].peak = 0;
}
