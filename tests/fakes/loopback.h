/* SPDX-License-Identifier: MIT */
#pragma once

/* A loopback address of this process alone, so that tests with fixed ports run side by side. */

#include <stdio.h>
#include <unistd.h>

static inline const char *loopback_address(void)
{
    static char text[32];
    unsigned pid = (unsigned)getpid();
    snprintf(text, sizeof(text), "127.%u.%u.%u", 1 + (pid >> 16 & 63), pid >> 8 & 255, 1 + pid % 254);
    return text;
}

/* With a port: "127.3.4.5:28300". */
static inline const char *loopback_port(int port)
{
    static char text[48];
    snprintf(text, sizeof(text), "%s:%d", loopback_address(), port);
    return text;
}
