#include "server/mime.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct entry {
	const char *suffix;
	const char *type;
};

#define UTF8 "; charset=utf-8"

/* Sorted. */
static const struct entry types[] = {
	{ "7z", "application/x-7z-compressed" },
	{ "avif", "image/avif" },
	{ "bmp", "image/bmp" },
	{ "br", "application/x-brotli" },
	{ "bz2", "application/x-bzip2" },
	{ "css", "text/css" UTF8 },
	{ "csv", "text/csv" UTF8 },
	{ "eot", "application/vnd.ms-fontobject" },
	{ "flac", "audio/flac" },
	{ "gif", "image/gif" },
	{ "gz", "application/gzip" },
	{ "htm", "text/html" UTF8 },
	{ "html", "text/html" UTF8 },
	{ "ico", "image/x-icon" },
	{ "ics", "text/calendar" UTF8 },
	{ "jpeg", "image/jpeg" },
	{ "jpg", "image/jpeg" },
	{ "js", "text/javascript" UTF8 },
	{ "json", "application/json" },
	{ "jsonld", "application/ld+json" },
	{ "m4a", "audio/mp4" },
	{ "map", "application/json" },
	{ "md", "text/markdown" UTF8 },
	{ "mjs", "text/javascript" UTF8 },
	{ "mov", "video/quicktime" },
	{ "mp3", "audio/mpeg" },
	{ "mp4", "video/mp4" },
	{ "oga", "audio/ogg" },
	{ "ogg", "audio/ogg" },
	{ "ogv", "video/ogg" },
	{ "opus", "audio/ogg" },
	{ "otf", "font/otf" },
	{ "pdf", "application/pdf" },
	{ "png", "image/png" },
	{ "rss", "application/rss+xml" },
	{ "rtf", "application/rtf" },
	{ "svg", "image/svg+xml" },
	{ "tar", "application/x-tar" },
	{ "tif", "image/tiff" },
	{ "tiff", "image/tiff" },
	{ "ts", "video/mp2t" },
	{ "ttf", "font/ttf" },
	{ "txt", "text/plain" UTF8 },
	{ "wasm", "application/wasm" },
	{ "wav", "audio/wav" },
	{ "webm", "video/webm" },
	{ "webmanifest", "application/manifest+json" },
	{ "webp", "image/webp" },
	{ "woff", "font/woff" },
	{ "woff2", "font/woff2" },
	{ "xhtml", "application/xhtml+xml" },
	{ "xml", "application/xml" },
	{ "xz", "application/x-xz" },
	{ "yaml", "application/yaml" },
	{ "yml", "application/yaml" },
	{ "zip", "application/zip" },
	{ "zst", "application/zstd" },
};

static int compare(const void *suffix, const void *entry)
{
	return strcasecmp(suffix, ((const struct entry *)entry)->suffix);
}

const char *mime_type(const char *path)
{
	const char *dot = strrchr(path, '.');
	const struct entry *found = NULL;

	if (dot != NULL)
		found = bsearch(dot + 1, types, sizeof(types) / sizeof(*types),
				sizeof(*types), compare);
	return found != NULL ? found->type : "application/octet-stream";
}

static bool ends_with(const char *text, size_t length, const char *end)
{
	size_t end_length = strlen(end);

	return length > end_length &&
	       strncasecmp(text + length - end_length, end, end_length) == 0;
}

bool mime_is_compressible(const char *type)
{
	static const char *const others[] = {
		"application/json",
		"application/javascript",
		"application/xml",
		"application/wasm",
		"application/yaml",
		"application/rtf",
		"application/x-ndjson",
		"application/vnd.ms-fontobject",
		"application/x-tar",
		"font/ttf",
		"font/otf",
		"image/bmp",
		"image/x-icon",
	};
	size_t length = strcspn(type, "; ");

	if (strncasecmp(type, "text/", 5) == 0)
		/* An event must not wait for those behind it. */
		return strncasecmp(type, "text/event-stream", 17) != 0;
	if (ends_with(type, length, "+json") || ends_with(type, length, "+xml"))
		return true;
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (strlen(others[i]) == length &&
		    strncasecmp(type, others[i], length) == 0)
			return true;
	return false;
}
