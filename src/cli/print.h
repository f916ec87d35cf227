/*
 * print - JSON on stdout, for programs to read: what --json asks for.
 */
#pragma once
#include <jansson.h>

/* A text; where it is not UTF-8, {"base64": "..."}. */
json_t *print_bytes(const char *bytes, size_t length);

/* One line, or one element of an array. Takes the value over. */
void print_json(json_t *value);
void print_json_part(json_t *value);
