/*
 * list - a circular list whose links are members of what is listed.
 *
 * A zeroed link is in no list. Adding what is listed already, or removing
 * what is not, is a mistake of the caller's.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next;
	struct list *previous;
};

#define LIST_ENTRY(link, type, member)                                         \
	((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Safe against removal of `link` itself within the body. */
#define LIST_EACH(head, link)                                                  \
	for (struct list *link = (head)->next, *link##_next = link->next;      \
	     link != (head); link = link##_next, link##_next = link->next)

static inline void list_init(struct list *list)
{
	list->next = list->previous = list;
}

static inline bool list_is_empty(const struct list *list)
{
	return list->next == list;
}

static inline bool list_has_one(const struct list *list)
{
	return list->next != list && list->next->next == list;
}

static inline bool list_is_linked(const struct list *link)
{
	return link->next != NULL;
}

static inline void list_add_last(struct list *list, struct list *link)
{
	link->previous = list->previous;
	link->next = list;
	list->previous->next = link;
	list->previous = link;
}

static inline void list_remove(struct list *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
	link->next = link->previous = NULL;
}

/* NULL where the list is empty. */
struct list *list_first(const struct list *list);
/* The same, and removes it. */
struct list *list_take_first(struct list *list);
