/* config - the application's own settings: see muster/muster.h. */
#include <errno.h>
#include <muster/muster.h>
#include <stdlib.h>
#include <strings.h>

#include "service/node.h"
#include "wire/document.h"

/* NULL: it is not there, or is no value. */
static const struct document_node *find(const struct muster *muster,
					const char *path)
{
	const struct document_node *node =
		muster->config == NULL
			? NULL
			: document_find_path(muster->config, path);

	if (node == NULL || document_is_null(node))
		return NULL;
	return node;
}

static void complain(const struct muster *muster,
		     const struct document_node *node, const char *path,
		     const char *wants)
{
	log_warn(&muster->log,
		 "setting of another kind path=app.%s line=%u "
		 "wants=%s",
		 path, node->line, wants);
}

const char *muster_config_text(const struct muster *muster, const char *path,
			       const char *otherwise)
{
	const struct document_node *node = find(muster, path);

	if (node == NULL)
		return otherwise;
	if (node->kind == DOCUMENT_VALUE)
		return node->text;
	complain(muster, node, path, "text");
	return otherwise;
}

int64_t muster_config_int(const struct muster *muster, const char *path,
			  int64_t otherwise)
{
	const struct document_node *node = find(muster, path);
	char *end = NULL;

	if (node == NULL)
		return otherwise;
	if (node->kind == DOCUMENT_VALUE) {
		errno = 0;
		long long value = strtoll(node->text, &end, 10);

		if (errno == 0 && end != node->text && *end == '\0')
			return value;
	}
	complain(muster, node, path, "integer");
	return otherwise;
}

bool muster_config_bool(const struct muster *muster, const char *path,
			bool otherwise)
{
	static const struct {
		const char *name;
		bool value;
	} words[] = {
		{ "true", true }, { "false", false }, { "yes", true },
		{ "no", false },  { "on", true },     { "off", false },
	};
	const struct document_node *node = find(muster, path);

	if (node == NULL)
		return otherwise;
	for (size_t i = 0; node->kind == DOCUMENT_VALUE &&
			   i < sizeof(words) / sizeof(words[0]);
	     i++)
		if (strcasecmp(node->text, words[i].name) == 0)
			return words[i].value;
	complain(muster, node, path, "boolean");
	return otherwise;
}
