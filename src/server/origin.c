#include "server/origin.h"

#include <string.h>
#include <strings.h>

/* "https://a.example:8443" is of the host "a.example:8443". */
static bool is_of_host(const char *origin, const char *host)
{
	const char *authority = strstr(origin, "://");

	return host != NULL && authority != NULL &&
	       strcasecmp(authority + 3, host) == 0;
}

enum origin origin_of(const struct muster_http *http,
		      const char *const *origins)
{
	const char *origin = muster_http_header(http, "Origin");

	if (origin == NULL ||
	    is_of_host(origin, muster_http_header(http, "Host")))
		return ORIGIN_OWN;
	for (; origins != NULL && *origins != NULL; origins++)
		if (strcmp(*origins, origin) == 0)
			return ORIGIN_LISTED;
	return ORIGIN_OTHER;
}
