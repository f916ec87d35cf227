#include "api/documentation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char *const type_names[] = {
	[MUSTER_TEXT] = "string",   [MUSTER_INTEGER] = "integer",
	[MUSTER_NUMBER] = "number", [MUSTER_BOOLEAN] = "boolean",
	[MUSTER_OBJECT] = "object", [MUSTER_ARRAY] = "array",
	[MUSTER_ANY] = "any",       [MUSTER_FILE] = "file",
};

static void text_member(struct json_writer *writer, const char *name,
			const char *text)
{
	json_write_name(writer, name);
	json_write_text(writer, text);
}

static void raw_member(struct json_writer *writer, const char *name,
		       const char *json)
{
	json_write_name(writer, name);
	json_write_raw(writer, json, strlen(json));
}

/* ---- for people ---- */

static void write_inputs(struct json_writer *writer,
			 const struct muster_input *const *inputs,
			 size_t count);

static void write_input(struct json_writer *writer,
			const struct muster_input *input)
{
	json_write_name(writer, input->name);
	json_write_object(writer);
	if (input->description != NULL)
		text_member(writer, "description", input->description);
	text_member(writer, "type", type_names[input->type]);
	json_write_name(writer, "required");
	json_write_boolean(writer, input->required);
	if (input->fallback != NULL)
		raw_member(writer, "default", input->fallback);
	if (input->pattern != NULL)
		text_member(writer, "pattern", input->pattern);
	if (input->length_max > 0) {
		json_write_name(writer, "maxLength");
		json_write_integer(writer, input->length_max);
	}
	if (input->secret)
		raw_member(writer, "secret", "true");
	if (input->schema != NULL) {
		json_write_name(writer, "schema");
		write_inputs(writer, input->schema, SIZE_MAX);
	}
	json_write_object_end(writer);
}

static void write_inputs(struct json_writer *writer,
			 const struct muster_input *const *inputs, size_t count)
{
	json_write_object(writer);
	for (size_t i = 0; i < count && inputs[i] != NULL; i++)
		write_input(writer, inputs[i]);
	json_write_object_end(writer);
}

static void write_name(struct json_writer *writer, const struct action *action)
{
	const struct muster_action *given = action->given;

	text_member(writer, "name", given->name);
	json_write_name(writer, "version");
	json_write_integer(writer, action->version);
	text_member(writer, "description",
		    given->description != NULL ? given->description : "");
}

static void write_form(struct json_writer *writer, const struct action *action)
{
	const struct muster_action *given = action->given;

	json_write_name(writer, "inputs");
	write_inputs(writer, given->inputs, action->input_count);
	raw_member(writer, "outputExample",
		   given->output_example != NULL ? given->output_example
						 : "{}");
}

static void write_action(struct json_writer *writer,
			 const struct action *action)
{
	char version[16];

	snprintf(version, sizeof(version), "%u", action->version);
	json_write_name(writer, version);
	json_write_object(writer);
	write_name(writer, action);
	write_form(writer, action);
	json_write_object_end(writer);
}

static bool is_another(const struct actions *actions, size_t i)
{
	return i == 0 || strcmp(actions_at(actions, i - 1)->given->name,
				actions_at(actions, i)->given->name) != 0;
}

void documentation_write(const struct actions *actions,
			 struct json_writer *writer)
{
	json_write_object(writer);
	for (size_t i = 0; i < actions_count(actions); i++) {
		const struct action *action = actions_at(actions, i);

		if (is_another(actions, i)) {
			if (i > 0)
				json_write_object_end(writer);
			json_write_name(writer, action->given->name);
			json_write_object(writer);
		}
		write_action(writer, action);
	}
	if (actions_count(actions) > 0)
		json_write_object_end(writer);
	json_write_object_end(writer);
}

static void write_transports(struct json_writer *writer, unsigned blocked)
{
	static const struct {
		enum muster_transport transport;
		const char *name;
	} transports[] = {
		{ MUSTER_WEB, "web" },
		{ MUSTER_WEBSOCKET, "websocket" },
		{ MUSTER_TCP, "tcp" },
	};

	json_write_name(writer, "transports");
	json_write_array(writer);
	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
		if ((blocked & transports[i].transport) == 0)
			json_write_text(writer, transports[i].name);
	json_write_array_end(writer);
}

void documentation_list(const struct actions *actions,
			struct json_writer *writer)
{
	json_write_array(writer);
	for (size_t i = 0; i < actions_count(actions); i++) {
		const struct action *action = actions_at(actions, i);

		json_write_object(writer);
		write_name(writer, action);
		write_transports(writer, action->given->blocked);
		write_form(writer, action);
		json_write_object_end(writer);
	}
	json_write_array_end(writer);
}

/* ---- OpenAPI ---- */

static void write_schema(struct json_writer *writer,
			 const struct muster_input *input);

static void write_required(struct json_writer *writer,
			   const struct muster_input *const *inputs,
			   size_t count)
{
	bool is_begun = false;

	for (size_t i = 0; i < count && inputs[i] != NULL; i++) {
		if (!inputs[i]->required)
			continue;
		if (!is_begun) {
			json_write_name(writer, "required");
			json_write_array(writer);
		}
		is_begun = true;
		json_write_text(writer, inputs[i]->name);
	}
	if (is_begun)
		json_write_array_end(writer);
}

static void write_properties(struct json_writer *writer,
			     const struct muster_input *const *inputs,
			     size_t count)
{
	json_write_name(writer, "properties");
	json_write_object(writer);
	for (size_t i = 0; i < count && inputs[i] != NULL; i++) {
		json_write_name(writer, inputs[i]->name);
		write_schema(writer, inputs[i]);
	}
	json_write_object_end(writer);
	write_required(writer, inputs, count);
}

static void write_schema(struct json_writer *writer,
			 const struct muster_input *input)
{
	json_write_object(writer);
	if (input->type == MUSTER_FILE)
		raw_member(writer, "contentMediaType",
			   "\"application/octet-stream\"");
	else if (input->type != MUSTER_ANY)
		text_member(writer, "type", type_names[input->type]);
	if (input->description != NULL)
		text_member(writer, "description", input->description);
	if (input->fallback != NULL)
		raw_member(writer, "default", input->fallback);
	if (input->pattern != NULL)
		text_member(writer, "pattern", input->pattern);
	if (input->length_max > 0 && input->type != MUSTER_OBJECT &&
	    input->type != MUSTER_FILE) {
		json_write_name(writer, input->type == MUSTER_ARRAY
						? "maxItems"
						: "maxLength");
		json_write_integer(writer, input->length_max);
	}
	if (input->secret)
		text_member(writer, "format", "password");
	if (input->schema != NULL)
		write_properties(writer, input->schema, SIZE_MAX);
	json_write_object_end(writer);
}

static void write_parameter(struct json_writer *writer, const char *name,
			    const char *where, bool is_required,
			    const struct muster_input *input)
{
	json_write_object(writer);
	text_member(writer, "name", name);
	text_member(writer, "in", where);
	json_write_name(writer, "required");
	json_write_boolean(writer, is_required);
	json_write_name(writer, "schema");
	if (input != NULL)
		write_schema(writer, input);
	else
		json_write_raw(writer, "{\"type\":\"string\"}", 17);
	json_write_object_end(writer);
}

static bool is_in_path(const char *path, const char *name)
{
	char capture[160];

	snprintf(capture, sizeof(capture), "{%s}", name);
	return strstr(path, capture) != NULL;
}

static void write_version_parameter(struct json_writer *writer,
				    uint32_t version)
{
	char schema[64];

	json_write_object(writer);
	text_member(writer, "name", "apiVersion");
	text_member(writer, "in", "query");
	snprintf(schema, sizeof(schema),
		 "{\"type\":\"integer\",\"default\":%u}", version);
	raw_member(writer, "schema", schema);
	json_write_object_end(writer);
}

/* What the path holds, and for those without a body the rest. */
static void write_parameters(struct json_writer *writer,
			     const struct action *action, const char *path,
			     bool has_body)
{
	const struct muster_input *const *inputs = action->given->inputs;
	const char *at = path;

	json_write_name(writer, "parameters");
	json_write_array(writer);
	while ((at = strchr(at, '{')) != NULL) {
		size_t length = strcspn(++at, "}");
		char name[160];
		const struct muster_input *known = NULL;

		snprintf(name, sizeof(name), "%.*s", (int)length, at);
		for (size_t i = 0; i < action->input_count; i++)
			if (strcmp(inputs[i]->name, name) == 0)
				known = inputs[i];
		write_parameter(writer, name, "path", true, known);
	}
	for (size_t i = 0; !has_body && i < action->input_count; i++)
		if (!is_in_path(path, inputs[i]->name) &&
		    inputs[i]->type != MUSTER_FILE)
			write_parameter(writer, inputs[i]->name, "query",
					inputs[i]->required, inputs[i]);
	write_version_parameter(writer, action->version);
	json_write_array_end(writer);
}

static bool has_file(const struct action *action)
{
	for (size_t i = 0; i < action->input_count; i++)
		if (action->given->inputs[i]->type == MUSTER_FILE)
			return true;
	return false;
}

/* Files come in forms alone. */
static bool takes(const struct action *action, unsigned kind)
{
	unsigned bodies = action->given->bodies;

	if (bodies == 0 && has_file(action))
		bodies = MUSTER_BODY_MULTIPART;
	return bodies == 0 || (bodies & kind) != 0;
}

static void write_body(struct json_writer *writer, const struct action *action)
{
	static const char *const types[] = {
		"application/json", "application/x-www-form-urlencoded",
		"multipart/form-data"
	};
	static const unsigned kinds[] = { MUSTER_BODY_JSON,
					  MUSTER_BODY_URLENCODED,
					  MUSTER_BODY_MULTIPART };

	json_write_name(writer, "requestBody");
	json_write_object(writer);
	json_write_name(writer, "content");
	json_write_object(writer);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!takes(action, kinds[i]))
			continue;
		json_write_name(writer, types[i]);
		json_write_object(writer);
		json_write_name(writer, "schema");
		json_write_object(writer);
		text_member(writer, "type", "object");
		write_properties(writer, action->given->inputs,
				 action->input_count);
		json_write_object_end(writer);
		json_write_object_end(writer);
	}
	json_write_object_end(writer);
	json_write_object_end(writer);
}

static void write_responses(struct json_writer *writer,
			    const struct action *action)
{
	json_write_name(writer, "responses");
	json_write_object(writer);
	json_write_name(writer, "200");
	json_write_object(writer);
	text_member(writer, "description", "the action's answer");
	json_write_name(writer, "content");
	json_write_object(writer);
	json_write_name(writer, "application/json");
	json_write_object(writer);
	if (action->given->output_example != NULL)
		raw_member(writer, "example", action->given->output_example);
	raw_member(writer, "schema", "{\"type\":\"object\"}");
	json_write_object_end(writer);
	json_write_object_end(writer);
	json_write_object_end(writer);
	raw_member(writer, "default",
		   "{\"description\":\"what went wrong\",\"content\":{"
		   "\"application/json\":{\"schema\":{\"$ref\":"
		   "\"#/components/schemas/Error\"}}}}");
	json_write_object_end(writer);
}

struct place {
	const char *path; /* with {name} in it */
	size_t number;    /* of the route; SIZE_MAX: none */
};

static void write_operation(struct json_writer *writer,
			    const struct action *action, const char *method,
			    const struct place *place)
{
	bool has_body =
		strcmp(method, "get") != 0 && strcmp(method, "head") != 0;
	char id[320];

	if (place->number == SIZE_MAX)
		snprintf(id, sizeof(id), "%s-%s", action->given->name, method);
	else
		snprintf(id, sizeof(id), "%s-%s-%zu", action->given->name,
			 method, place->number);
	json_write_name(writer, method);
	json_write_object(writer);
	text_member(writer, "operationId", id);
	text_member(writer, "summary",
		    action->given->description != NULL
			    ? action->given->description
			    : action->given->name);
	write_parameters(writer, action, place->path, has_body);
	if (has_body)
		write_body(writer, action);
	write_responses(writer, action);
	json_write_object_end(writer);
}

/* The highest of each name is what is answered by default. */
static bool is_shown(const struct actions *actions, size_t i)
{
	bool is_highest =
		i + 1 == actions_count(actions) || is_another(actions, i + 1);

	return is_highest &&
	       (actions_at(actions, i)->given->blocked & MUSTER_WEB) == 0;
}

static void write_action_path(struct json_writer *writer,
			      const struct action *action)
{
	char path[160];
	struct place place = { .path = path, .number = SIZE_MAX };

	snprintf(path, sizeof(path), "/api/%s", action->given->name);
	json_write_name(writer, path);
	json_write_object(writer);
	write_operation(writer, action, "get", &place);
	write_operation(writer, action, "post", &place);
	json_write_object_end(writer);
}

/* "/users/:id([0-9]+)/" becomes "/users/{id}". */
static void write_template(const char *path, struct buffer *to)
{
	while (*path != '\0') {
		int depth = 0;

		if (*path != ':' && *path != '*') {
			buffer_append(to, path++, 1);
			continue;
		}
		bool is_named = path[1] != '\0' && path[1] != '/';
		size_t name = strcspn(path + 1, "(/");

		path++;
		buffer_append_format(to, "{%.*s}", (int)(is_named ? name : 4),
				     is_named ? path : "rest");
		path += name;
		for (; *path != '\0' && (*path != '/' || depth > 0); path++)
			depth += (*path == '(') - (*path == ')');
	}
	buffer_append(to, "", 1);
}

static char *template_of(const struct muster_route *route)
{
	struct buffer text = { 0 };

	write_template(route->path, &text);
	char *path = mem_text((const char *)buffer_bytes(&text));

	buffer_fini(&text);
	return path;
}

static void write_method(const char *given, char method[16])
{
	size_t i = 0;

	for (; given[i] != '\0' && i < 15; i++)
		method[i] = (char)(given[i] >= 'A' && given[i] <= 'Z'
					   ? given[i] + 32
					   : given[i]);
	method[i] = '\0';
}

static void write_route_methods(struct json_writer *writer,
				const struct action *action,
				const struct muster_route *route,
				const struct place *place)
{
	static const char *const any[] = { "get", "post", "put", "patch",
					   "delete" };
	char method[16];

	if (route->method != NULL) {
		write_method(route->method, method);
		write_operation(writer, action, method, place);
		return;
	}
	for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++)
		write_operation(writer, action, any[i], place);
}

/* Does an earlier route say what this one would? */
static bool is_covered(const struct muster_route *routes, char *const *paths,
		       size_t at, size_t earlier)
{
	return strcmp(paths[at], paths[earlier]) == 0 &&
	       (routes[earlier].method == NULL || routes[at].method == NULL ||
		strcmp(routes[earlier].method, routes[at].method) == 0);
}

/* All routes of one path are in one object. */
static void write_path(struct json_writer *writer,
		       const struct actions *actions,
		       const struct muster_route *routes, char *const *paths,
		       size_t first)
{
	json_write_name(writer, paths[first]);
	json_write_object(writer);
	for (size_t i = first; routes[i].path != NULL; i++) {
		const struct action *action = actions_find(
			actions, routes[i].action, strlen(routes[i].action),
			routes[i].version);
		struct place place = { .path = paths[i], .number = i };
		bool is_new = strcmp(paths[i], paths[first]) == 0;

		for (size_t j = 0; j < i; j++)
			is_new = is_new && !is_covered(routes, paths, i, j);
		if (is_new)
			write_route_methods(writer, action, &routes[i], &place);
	}
	json_write_object_end(writer);
}

static void write_routes(struct json_writer *writer,
			 const struct actions *actions,
			 const struct muster_route *routes)
{
	size_t count = 0;

	while (routes != NULL && routes[count].path != NULL)
		count++;
	char **paths = mem_zalloc((count + 1) * sizeof(*paths));

	for (size_t i = 0; i < count; i++)
		paths[i] = template_of(&routes[i]);
	for (size_t i = 0; i < count; i++) {
		bool is_first = true;

		for (size_t j = 0; j < i; j++)
			is_first = is_first && strcmp(paths[i], paths[j]) != 0;
		if (is_first)
			write_path(writer, actions, routes, paths, i);
	}
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
}

void documentation_openapi(const struct actions *actions, const char *title,
			   const char *version,
			   const struct muster_route *routes,
			   struct json_writer *writer)
{
	json_write_object(writer);
	text_member(writer, "openapi", "3.1.0");
	json_write_name(writer, "info");
	json_write_object(writer);
	text_member(writer, "title", title);
	text_member(writer, "version", version);
	json_write_object_end(writer);
	json_write_name(writer, "paths");
	json_write_object(writer);
	write_routes(writer, actions, routes);
	for (size_t i = 0; i < actions_count(actions); i++)
		if (is_shown(actions, i))
			write_action_path(writer, actions_at(actions, i));
	json_write_object_end(writer);
	raw_member(writer, "components",
		   "{\"schemas\":{\"Error\":{\"type\":\"object\",\"required\":["
		   "\"error\"],\"properties\":{\"error\":{\"type\":\"string\"}"
		   "}}}}");
	json_write_object_end(writer);
}
