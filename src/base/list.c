#include "base/list.h"

struct list *list_first(const struct list *list)
{
	return list->next == list ? NULL : list->next;
}

struct list *list_take_first(struct list *list)
{
	struct list *first = list_first(list);

	if (first != NULL)
		list_remove(first);
	return first;
}
