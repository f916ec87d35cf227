#include "wire/document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

#include "base/json.h"
#include "base/json_walk.h"
#include "base/utf8.h"

/* What an alias may refer to: complete, so that none contains itself. */
struct anchor {
	struct anchor *next;
	const char *name;
	const struct document_node *node;
};

struct reader {
	struct arena *arena;
	const char *source;
	struct problem *problem;
	yaml_parser_t parser;
	yaml_event_t event;
	struct anchor *anchors;
	size_t nodes;
	size_t depth;
};

/* ---- what can be wrong ---- */

__attribute__((format(printf, 3, 4))) static int
refuse(struct reader *reader, size_t line, const char *format, ...)
{
	char text[160];
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	return problem_set(reader->problem, -EINVAL, "CONFIG_MALFORMED",
			   "%.90s:%zu: %s", reader->source, line, text);
}

static size_t line_of(const char *bytes, size_t offset)
{
	size_t line = 1;

	for (size_t i = 0; i < offset; i++)
		line += bytes[i] == '\n' ? 1 : 0;
	return line;
}

static size_t event_line(const struct reader *reader)
{
	return reader->event.start_mark.line + 1;
}

/* The parser's own words, which name what it found and what it was at. */
static int refuse_malformed(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	const char *why =
		parser->problem != NULL ? parser->problem : "it is malformed";

	if (parser->context == NULL)
		return refuse(reader, parser->problem_mark.line + 1, "%s", why);
	return refuse(reader, parser->problem_mark.line + 1,
		      "%s %s that begins in line %zu", why, parser->context,
		      parser->context_mark.line + 1);
}

/* The parser refuses it as well, but does not say where. */
static int check_bytes(struct reader *reader, const char *bytes, size_t length)
{
	struct utf8 utf8 = { 0 };

	if (length > DOCUMENT_BYTES_MAX)
		return refuse(reader, 1,
			      "%zu bytes are more than the %zu "
			      "that there may be",
			      length, DOCUMENT_BYTES_MAX);
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (!utf8_feed(&utf8, &byte, 1))
			return refuse(reader, line_of(bytes, i),
				      "it is not UTF-8");
		if ((byte < 0x20 && byte != '\t' && byte != '\n' &&
		     byte != '\r') ||
		    byte == 0x7f)
			return refuse(reader, line_of(bytes, i),
				      "there is a control character (0x%02x)",
				      byte);
	}
	return utf8_is_whole(&utf8) ? 0
				    : refuse(reader, line_of(bytes, length),
					     "it ends within a character");
}

/* ---- nodes ---- */

/* NULL: there are too many; *problem is filled. */
static struct document_node *make(struct reader *reader,
				  enum document_kind kind, size_t line)
{
	if (++reader->nodes > DOCUMENT_NODES_MAX) {
		(void)refuse(reader, line,
			     "there is more than %d values, what aliases stand "
			     "for included",
			     DOCUMENT_NODES_MAX);
		return NULL;
	}
	struct document_node *node =
		arena_take_zeroed(reader->arena, 1, sizeof(*node));

	node->kind = kind;
	node->line = (uint32_t)line;
	return node;
}

/* As deep as what it copies, which is bounded. */
static struct document_node *copy(struct reader *reader,
				  const struct document_node *node, size_t line)
{
	struct document_node *made = make(reader, node->kind, line);

	if (made == NULL)
		return NULL;
	made->is_quoted = node->is_quoted;
	made->text = node->text;
	struct document_node **end = &made->first;

	for (node = node->first; node != NULL; node = node->next) {
		*end = copy(reader, node, line);
		if (*end == NULL)
			return NULL;
		(*end)->name = node->name;
		end = &(*end)->next;
	}
	return made;
}

static struct document_node *shallow(struct arena *arena,
				     const struct document_node *node)
{
	struct document_node *made = arena_take(arena, sizeof(*made));

	*made = *node;
	made->next = NULL;
	return made;
}

static size_t height(const struct document_node *node)
{
	size_t most = 0;

	for (node = node->first; node != NULL; node = node->next) {
		size_t below = height(node) + 1;

		most = below > most ? below : most;
	}
	return most;
}

/* ---- events ---- */

static int next(struct reader *reader)
{
	yaml_event_delete(&reader->event);
	return yaml_parser_parse(&reader->parser, &reader->event) == 1
		       ? 0
		       : refuse_malformed(reader);
}

static void remember(struct reader *reader, const yaml_char_t *name,
		     const struct document_node *node)
{
	if (name == NULL)
		return;
	struct anchor *anchor =
		arena_take_zeroed(reader->arena, 1, sizeof(*anchor));

	anchor->name = (const char *)name;
	anchor->node = node;
	anchor->next = reader->anchors;
	reader->anchors = anchor;
}

static const yaml_char_t *keep(struct reader *reader, const yaml_char_t *name)
{
	return name == NULL
		       ? NULL
		       : (yaml_char_t *)arena_text(reader->arena, name,
						   strlen((const char *)name));
}

static int take_alias(struct reader *reader, struct document_node **node)
{
	const char *name = (const char *)reader->event.data.alias.anchor;
	const struct anchor *anchor = reader->anchors;

	while (anchor != NULL && strcmp(anchor->name, name) != 0)
		anchor = anchor->next;
	if (anchor == NULL)
		return refuse(reader, event_line(reader),
			      "nothing above is called &%.60s", name);
	if (reader->depth + height(anchor->node) > DOCUMENT_DEPTH_MAX)
		return refuse(reader, event_line(reader),
			      "it is more than %d deep", DOCUMENT_DEPTH_MAX);
	*node = copy(reader, anchor->node, event_line(reader));
	return *node == NULL ? reader->problem->code : 0;
}

static int refuse_tag(struct reader *reader, const yaml_char_t *tag)
{
	return refuse(reader, event_line(reader),
		      "the tag %.60s is not understood (leave it out)",
		      (const char *)tag);
}

static int take_value(struct reader *reader, struct document_node **node)
{
	const yaml_char_t *text = reader->event.data.scalar.value;
	size_t length = reader->event.data.scalar.length;

	if (reader->event.data.scalar.tag != NULL)
		return refuse_tag(reader, reader->event.data.scalar.tag);
	if (memchr(text, '\0', length) != NULL)
		return refuse(reader, event_line(reader),
			      "a text has a NUL within");
	*node = make(reader, DOCUMENT_VALUE, event_line(reader));
	if (*node == NULL)
		return reader->problem->code;
	(*node)->text = arena_text(reader->arena, text, length);
	(*node)->is_quoted =
		reader->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	remember(reader, keep(reader, reader->event.data.scalar.anchor), *node);
	return 0;
}

static int take_node(struct reader *reader, struct document_node **node);

static int take_elements(struct reader *reader, struct document_node *list)
{
	struct document_node **end = &list->first;

	for (;;) {
		int error = next(reader);

		if (error < 0 || reader->event.type == YAML_SEQUENCE_END_EVENT)
			return error;
		error = take_node(reader, end);
		if (error < 0)
			return error;
		end = &(*end)->next;
	}
}

/* true: *problem is filled. */
static bool is_there(struct reader *reader, const struct document_node *map,
		     const char *name, size_t line)
{
	const struct document_node *other = document_find(map, name);

	if (other == NULL)
		return false;
	(void)refuse(reader, line,
		     "'%.60s' is here a second time (line %u has the first)",
		     name, other->line);
	return true;
}

/* The event is the name of a member. */
static int take_name(struct reader *reader, const struct document_node *map,
		     const char **name)
{
	size_t line = event_line(reader);
	struct document_node *value = NULL;

	if (reader->event.type != YAML_SCALAR_EVENT)
		return refuse(reader, line, "a name has to be a text");
	int error = take_value(reader, &value);

	if (error < 0 || value == NULL)
		return error;
	*name = value->text;
	return is_there(reader, map, *name, line) ? reader->problem->code : 0;
}

/* "<<": the members of another map, or of several, that are not here. */
static int take_merged(struct reader *reader, struct document_node *map,
		       const struct document_node *from)
{
	bool is_list = from->kind == DOCUMENT_LIST;
	struct document_node **end = &map->first;
	const struct document_node *other = is_list ? from->first : from;

	while (*end != NULL)
		end = &(*end)->next;
	for (; other != NULL; other = is_list ? other->next : NULL) {
		const struct document_node *member = other->first;

		if (other->kind != DOCUMENT_MAP)
			return refuse(reader, from->line,
				      "'<<' wants a map, or a list of maps");
		for (; member != NULL; member = member->next) {
			if (document_find(map, member->name) != NULL)
				continue;
			*end = shallow(reader->arena, member);
			end = &(*end)->next;
		}
	}
	return 0;
}

static int take_members(struct reader *reader, struct document_node *map)
{
	struct document_node **end = &map->first;
	const struct document_node *merged = NULL;

	for (;;) {
		struct document_node *member = NULL;
		const char *name = NULL;
		int error = next(reader);

		if (error < 0)
			return error;
		if (reader->event.type == YAML_MAPPING_END_EVENT)
			break;
		size_t line = event_line(reader);

		error = take_name(reader, map, &name);
		if (error == 0)
			error = next(reader);
		if (error == 0)
			error = take_node(reader, &member);
		if (error < 0 || member == NULL)
			return error;
		member->line = (uint32_t)line;
		if (strcmp(name, "<<") == 0 && merged == NULL) {
			merged = member;
			continue;
		}
		member->name = name;
		*end = member;
		end = &member->next;
	}
	return merged == NULL ? 0 : take_merged(reader, map, merged);
}

static int take_container(struct reader *reader, enum document_kind kind,
			  struct document_node **node)
{
	bool is_map = kind == DOCUMENT_MAP;
	const yaml_char_t *tag = is_map ? reader->event.data.mapping_start.tag
					: reader->event.data.sequence_start.tag;
	const yaml_char_t *anchor =
		keep(reader, is_map ? reader->event.data.mapping_start.anchor
				    : reader->event.data.sequence_start.anchor);

	if (tag != NULL)
		return refuse_tag(reader, tag);
	if (reader->depth == DOCUMENT_DEPTH_MAX)
		return refuse(reader, event_line(reader),
			      "it is more than %d deep", DOCUMENT_DEPTH_MAX);
	*node = make(reader, kind, event_line(reader));
	if (*node == NULL)
		return reader->problem->code;
	reader->depth++;
	int error = is_map ? take_members(reader, *node)
			   : take_elements(reader, *node);

	reader->depth--;
	if (error == 0)
		remember(reader, anchor, *node);
	return error;
}

static int take_node(struct reader *reader, struct document_node **node)
{
	if (reader->event.type == YAML_SCALAR_EVENT)
		return take_value(reader, node);
	if (reader->event.type == YAML_ALIAS_EVENT)
		return take_alias(reader, node);
	return take_container(reader,
			      reader->event.type == YAML_MAPPING_START_EVENT
				      ? DOCUMENT_MAP
				      : DOCUMENT_LIST,
			      node);
}

static int take_document(struct reader *reader, struct document_node **root)
{
	int error = next(reader); /* the stream begins */

	if (error == 0)
		error = next(reader);
	if (error < 0)
		return error;
	if (reader->event.type == YAML_STREAM_END_EVENT) {
		*root = make(reader, DOCUMENT_MAP, 1);
		return 0;
	}
	error = next(reader);
	if (error == 0)
		error = take_node(reader, root);
	if (error == 0)
		error = next(reader); /* the document ends */
	if (error == 0)
		error = next(reader);
	if (error == 0 && reader->event.type != YAML_STREAM_END_EVENT)
		return refuse(reader, event_line(reader),
			      "another document begins, but one is all there "
			      "may be");
	return error;
}

/* ---- JSON ----
 *
 * YAML's reader does not know all of it: a pair of surrogates, for one.
 */

struct place {
	const char *at;
	size_t line;
};

/* Values are asked for in their order, so each byte is looked at once. */
static size_t line_at(struct place *place, const char *at)
{
	for (; place->at < at; place->at++)
		place->line += *place->at == '\n' ? 1 : 0;
	return place->line;
}

/* NULL: it has a NUL within; *problem is filled. */
static const char *string_of(struct reader *reader, struct json_value string,
			     size_t line)
{
	char *room = arena_take(reader->arena, string.length);
	size_t length = 0;
	const char *text = json_string_of(string, room, &length);

	if (memchr(text, '\0', length) == NULL)
		return arena_text(reader->arena, text, length);
	(void)refuse(reader, line, "a text has a NUL within");
	return NULL;
}

static int take_json(struct reader *reader, struct place *place,
		     struct json_value value, struct document_node **node);

static int take_json_members(struct reader *reader, struct place *place,
			     struct json_value container,
			     struct document_node *node)
{
	struct json_walk walk = json_walk(container);
	struct document_node **end = &node->first;
	struct json_value key;
	struct json_value value;

	while (json_walk_next(&walk, &key, &value)) {
		const char *name = NULL;
		size_t line =
			line_at(place, walk.is_object ? key.text : value.text);

		if (walk.is_object) {
			name = string_of(reader, key, line);
			if (name == NULL || is_there(reader, node, name, line))
				return reader->problem->code;
		}
		int error = take_json(reader, place, value, end);

		if (error < 0 || *end == NULL)
			return error;
		(*end)->name = name;
		(*end)->line = (uint32_t)line;
		end = &(*end)->next;
	}
	return 0;
}

/* As deep as it was checked to be. */
static int take_json(struct reader *reader, struct place *place,
		     struct json_value value, struct document_node **node)
{
	enum json_kind kind = json_kind_of(value);
	size_t line = line_at(place, value.text);

	*node = make(reader,
		     kind == JSON_OBJECT  ? DOCUMENT_MAP
		     : kind == JSON_ARRAY ? DOCUMENT_LIST
					  : DOCUMENT_VALUE,
		     line);
	if (*node == NULL)
		return reader->problem->code;
	if (kind == JSON_OBJECT || kind == JSON_ARRAY)
		return take_json_members(reader, place, value, *node);
	(*node)->is_quoted = kind == JSON_STRING;
	(*node)->text =
		kind == JSON_STRING
			? string_of(reader, value, line)
			: arena_text(reader->arena, value.text, value.length);
	return (*node)->text == NULL ? reader->problem->code : 0;
}

int document_read(struct arena *arena, const char *source, const char *bytes,
		  size_t length, struct document_node **root,
		  struct problem *problem)
{
	struct reader reader = { .arena = arena,
				 .source = source,
				 .problem = problem };
	int error = check_bytes(&reader, bytes, length);

	if (error < 0)
		return error;
	if (json_check(bytes, length, DOCUMENT_DEPTH_MAX - 1) == JSON_VALUE)
		return take_json(&reader, &(struct place){ bytes, 1 },
				 json_value_of(bytes, length), root);
	if (yaml_parser_initialize(&reader.parser) != 1)
		return problem_set(problem, -ENOMEM, "CONFIG_MALFORMED",
				   "%.90s: there is no memory to read it",
				   source);
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser,
				     (const unsigned char *)bytes, length);
	error = take_document(&reader, root);
	yaml_event_delete(&reader.event);
	yaml_parser_delete(&reader.parser);
	return error;
}

/* ---- what was read ---- */

struct document_node *document_find(const struct document_node *map,
				    const char *name)
{
	struct document_node *member = map->first;

	if (map->kind != DOCUMENT_MAP)
		return NULL;
	while (member != NULL && strcmp(member->name, name) != 0)
		member = member->next;
	return member;
}

struct document_node *document_find_path(const struct document_node *map,
					 const char *path)
{
	struct document_node *found = NULL;

	for (;;) {
		char name[128];
		size_t length = strcspn(path, ".");

		if (length >= sizeof(name))
			return NULL;
		memcpy(name, path, length);
		name[length] = '\0';
		found = document_find(map, name);
		if (found == NULL || path[length] == '\0')
			return found;
		map = found;
		path += length + 1;
	}
}

bool document_is_null(const struct document_node *node)
{
	return node->kind == DOCUMENT_VALUE && !node->is_quoted &&
	       (node->text[0] == '\0' || strcmp(node->text, "~") == 0 ||
		strcasecmp(node->text, "null") == 0);
}

struct document_node *document_merge(struct arena *arena,
				     const struct document_node *under,
				     const struct document_node *over)
{
	struct document_node *merged = shallow(arena, over);
	struct document_node **end = &merged->first;
	const struct document_node *member;

	merged->first = NULL;
	for (member = under->first; member != NULL; member = member->next) {
		const struct document_node *other =
			document_find(over, member->name);

		if (other == NULL)
			*end = shallow(arena, member);
		else if (other->kind == DOCUMENT_MAP &&
			 member->kind == DOCUMENT_MAP)
			*end = document_merge(arena, member, other);
		else
			*end = shallow(arena, other);
		end = &(*end)->next;
	}
	for (member = over->first; member != NULL; member = member->next) {
		if (document_find(under, member->name) != NULL)
			continue;
		*end = shallow(arena, member);
		end = &(*end)->next;
	}
	return merged;
}
