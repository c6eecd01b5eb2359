/* SPDX-License-Identifier: MIT */

/* Linked to programs that run confined, in builds with AddressSanitizer: its leak check at exit reads /proc, which
 * they can't, and would fail them. */

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
