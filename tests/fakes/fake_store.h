/* SPDX-License-Identifier: MIT */
#pragma once

/* A store in memory behind hubd/store.h. The disk outlives the store, as a disk outlives the hub: a test frees
 * one hub and gives the next one the same disk. It can be told to fail, to answer late, and to crash. */

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct store;

struct fake_disk;

struct fake_disk *fake_disk_new(void);
void fake_disk_free(struct fake_disk *disk);

struct store *fake_store_open(struct fake_disk *disk, struct loop *loop);

/* The next n commits fail with this negative errno. */
void fake_disk_fail(struct fake_disk *disk, int n, int code);
/* Commits are not answered until fake_disk_release. */
void fake_disk_hold(struct fake_disk *disk);
void fake_disk_release(struct fake_disk *disk);
/* The n-th commit from now is written (or, with `before`, not even that) and never answered: the hub died there. 0:
 * never. */
void fake_disk_crash_after(struct fake_disk *disk, int n, bool before);
bool fake_disk_has_crashed(const struct fake_disk *disk);
int fake_disk_commits(const struct fake_disk *disk); /* written since it was made */
const char *fake_disk_get(const struct fake_disk *disk, const char *key);
int fake_disk_count(const struct fake_disk *disk, const char *prefix);
