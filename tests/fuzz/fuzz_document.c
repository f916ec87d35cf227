/*
 * Any bytes as a configuration: what is read is a tree within its bounds, whose
 * members can be found, and which can be laid over itself.
 */
#include <stdint.h>
#include <string.h>

#include "base/must.h"
#include "wire/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static size_t check(const struct document_node *node, size_t depth)
{
	size_t count = 1;

	MUST(depth <= DOCUMENT_DEPTH_MAX);
	MUST((node->kind == DOCUMENT_VALUE) == (node->text != NULL));
	MUST(node->kind != DOCUMENT_VALUE || node->first == NULL);
	MUST(node->line > 0);
	for (const struct document_node *member = node->first; member != NULL;
	     member = member->next) {
		MUST((node->kind == DOCUMENT_MAP) == (member->name != NULL));
		MUST(member->name == NULL ||
		     document_find(node, member->name) == member);
		count += check(member, depth + 1);
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct arena arena = { 0 };
	struct document_node *root = NULL;
	struct problem problem = { 0 };
	int error = document_read(&arena, "it.yml", (const char *)bytes, length,
				  &root, &problem);

	MUST(error == 0 ||
	     strncmp(problem.text, "it.yml:", strlen("it.yml:")) == 0);
	if (error == 0) {
		size_t count = check(root, 0);

		MUST(count <= DOCUMENT_NODES_MAX);
		(void)document_find_path(root, "a.b.c");
		if (root->kind == DOCUMENT_MAP)
			MUST(check(document_merge(&arena, root, root), 0) ==
			     count);
	}
	arena_fini(&arena);
	return 0;
}
