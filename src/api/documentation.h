/*
 * documentation - the table of actions as others read it: for people who ask
 * with showDocumentation, and as OpenAPI 3.1.
 */
#pragma once
#include "api/actions.h"
#include "base/json_write.h"

/* {"NAME": {"VERSION": {name, version, description, inputs, outputExample}}} */
void documentation_write(const struct actions *actions,
			 struct json_writer *writer);

/* [{name, version, description, transports, inputs, outputExample}, ...] */
void documentation_list(const struct actions *actions,
			struct json_writer *writer);

/* `routes` may be NULL. Actions that HTTP may not run are left out. */
void documentation_openapi(const struct actions *actions, const char *title,
			   const char *version,
			   const struct muster_route *routes,
			   struct json_writer *writer);
