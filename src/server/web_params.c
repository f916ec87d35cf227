/* What a request asks with: see web_internal.h. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/must.h"
#include "base/utf8.h"
#include "server/web_internal.h"
#include "wire/jsonp.h"
#include "wire/urlencoded.h"

#define JSON_DEPTH 32

static const char *const words[WEB_WORDS] = {
	[WEB_ACTION] = "action",     [WEB_API_VERSION] = "apiVersion",
	[WEB_CALLBACK] = "callback", [WEB_MESSAGE_ID] = "messageId",
	[WEB_FILE] = "file",
};

static int refuse(const char **why, int status, const char *text)
{
	*why = text;
	return status;
}

static int set(struct web_request *request, const struct param *param,
	       const char **why)
{
	if (params_set(&request->api.params, param) == 0)
		return 0;
	return refuse(why, 400, "there are too many parameters");
}

/* ---- urlencoded ---- */

static const char *decode(struct arena *arena, const char *text, size_t *length)
{
	if (memchr(text, '%', *length) == NULL &&
	    memchr(text, '+', *length) == NULL)
		return text;
	char *room = arena_take(arena, *length + 1);

	*length = urlencoded_decode(room, text, *length);
	return room;
}

static int read_urlencoded(struct web_request *request, const char *text,
			   size_t length, const char **why)
{
	struct urlencoded reader;
	struct urlencoded_pair pair;
	struct arena *arena = &request->api.arena;

	urlencoded_init(&reader, text, length);
	while (urlencoded_next(&reader, &pair)) {
		struct param param = { .name_length = pair.name_length,
				       .length = pair.value_length };

		param.name = decode(arena, pair.name, &param.name_length);
		param.text = decode(arena, pair.value, &param.length);
		if (!utf8_is_valid(param.name, param.name_length) ||
		    !utf8_is_valid(param.text, param.length))
			return refuse(why, 400,
				      "a parameter is not valid UTF-8");
		int status = set(request, &param, why);

		if (status != 0)
			return status;
	}
	return 0;
}

/* ---- JSON ---- */

static int read_payload(struct web_request *request, struct json_value array,
			const char **why)
{
	return set(request,
		   &(struct param){ .name = "payload",
				    .name_length = 7,
				    .text = array.text,
				    .length = array.length,
				    .is_json = true },
		   why);
}

static int read_object(struct web_request *request, struct json_value object,
		       const char **why)
{
	int error = params_set_object(&request->api.params, object);

	if (error == -E2BIG)
		return refuse(why, 400, "there are too many parameters");
	if (error < 0)
		return refuse(why, 400, "the body has two members of one name");
	return 0;
}

static int read_json(struct web_request *request, const char *text,
		     size_t length, const char **why)
{
	enum json_answer answer = json_check(text, length, JSON_DEPTH);

	if (answer == JSON_TOO_DEEP)
		return refuse(why, 400, "the body is nested too deep");
	if (answer != JSON_VALUE)
		return refuse(why, 400, "the body is not valid JSON");
	struct json_value value = json_value_of(text, length);

	switch (json_kind_of(value)) {
	case JSON_OBJECT:
		return read_object(request, value, why);
	case JSON_ARRAY:
		return read_payload(request, value, why);
	case JSON_NULL:
	case JSON_BOOLEAN:
	case JSON_NUMBER:
	case JSON_STRING:
		break;
	}
	return refuse(why, 400, "the body is no JSON object or array");
}

/* ---- the body ---- */

static int read_body(struct web_request *request, const char **why)
{
	struct muster_http *http = request->http;
	size_t length;
	const char *body = muster_http_body(http, &length);

	if (http->body_length == 0)
		return 0;
	switch (web_body_kind(http, why)) {
	case MUSTER_BODY_JSON:
		return read_json(request, body, length, why);
	case MUSTER_BODY_URLENCODED:
		return read_urlencoded(request, body, length, why);
	case MUSTER_BODY_MULTIPART:
		return web_body_read_form(request, why);
	default:
		return 415;
	}
}

/* ---- ours ---- */

/* As text, whatever it was sent as. */
static void take_word(struct web_request *request, enum web_word word)
{
	struct params *params = &request->api.params;
	struct param *param =
		params_find(params, words[word], strlen(words[word]));

	if (param == NULL)
		return;
	request->words[word] = *param;
	params_remove(params, param);

	struct param *taken = &request->words[word];
	struct json_value value = { taken->text, taken->length };

	if (taken->is_json && json_kind_of(value) == JSON_STRING)
		taken->text = json_string_of(
			value, arena_take(&request->api.arena, value.length),
			&taken->length);
	taken->is_json = false;
	if (taken->length == 0)
		taken->text = NULL;
}

static int take_words(struct web_request *request, const char **why)
{
	if (request->api.params.count == 0)
		return 0;
	for (size_t i = 0; i < WEB_WORDS; i++)
		take_word(request, (enum web_word)i);

	struct param *callback = &request->words[WEB_CALLBACK];

	if (callback->text == NULL ||
	    jsonp_is_callback(callback->text, callback->length))
		return 0;
	callback->text = NULL;
	return refuse(why, 400, "callback is not the name of a function");
}

int web_params_read(struct web_request *request, const char **why)
{
	struct muster_http *http = request->http;
	int status =
		read_urlencoded(request, http->text + http->head.query.start,
				http->head.query.length, why);

	if (status == 0 && web_body_is_read(http))
		status = read_body(request, why);
	int of_words = take_words(request, why);

	return status != 0 ? status : of_words;
}
