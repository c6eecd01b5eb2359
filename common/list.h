/* SPDX-License-Identifier: MIT */
#pragma once

/* Doubly linked intrusive list. A link that is in no list points at itself, so list_remove is always safe. */

#include <stdbool.h>

#include "common/mem.h"

struct list {
    struct list *prev, *next;
};

#define LIST_INIT(l) \
    {                \
        &(l), &(l)   \
    }

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

static inline void list_insert_before(struct list *where, struct list *item)
{
    item->prev = where->prev;
    item->next = where;
    where->prev->next = item;
    where->prev = item;
}

static inline void list_append(struct list *head, struct list *item)
{
    list_insert_before(head, item);
}

static inline void list_prepend(struct list *head, struct list *item)
{
    list_insert_before(head->next, item);
}

#define list_first(head, type, member) (list_empty(head) ? NULL : container_of((head)->next, type, member))
#define list_last(head, type, member)  (list_empty(head) ? NULL : container_of((head)->prev, type, member))

/* The body may not remove the current item; list_for_each_safe allows that (and only that). */
#define list_for_each(item, head, member)                                                       \
    for (item = container_of((head)->next, __typeof__(*item), member); &item->member != (head); \
         item = container_of(item->member.next, __typeof__(*item), member))

#define list_for_each_safe(item, tmp, head, member)                       \
    for (item = container_of((head)->next, __typeof__(*item), member),    \
        tmp = container_of(item->member.next, __typeof__(*item), member); \
         &item->member != (head);                                         \
         item = tmp, tmp = container_of(tmp->member.next, __typeof__(*tmp), member))
