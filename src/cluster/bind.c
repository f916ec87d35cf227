#include "cluster/bind.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/must.h"

#define LISTEN_FDS_START 3 /* sd_listen_fds(3) */

union any_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static int failed(struct problem *problem, int error,
		  const struct address *address)
{
	const char *name = "LISTEN_FAILED";
	const char *way_out = "choose another address";

	if (error == -EADDRINUSE) {
		name = "LISTEN_IN_USE";
		way_out = "choose another one or stop the other program";
	} else if (error == -EACCES || error == -EPERM) {
		name = "LISTEN_DENIED";
		way_out = "choose a port above 1023 or grant the privilege";
	}
	if (address->kind == ADDRESS_UNIX)
		return problem_set(problem, error, name,
				   "cannot listen on %.100s: %s (%s)",
				   address->host, strerror(-error), way_out);
	return problem_set(problem, error, name,
			   "cannot listen on %.60s:%u: %s (%s)",
			   address->host[0] == '\0' ? "*" : address->host,
			   address->port, strerror(-error), way_out);
}

static int resolve_path(struct address *address, struct problem *problem)
{
	char directory[ADDRESS_HOST_BYTES];
	char path[2 * ADDRESS_HOST_BYTES];

	if (address->host[0] == '/' || address->host[0] == '@')
		return 0;
	if (getcwd(directory, sizeof(directory)) == NULL ||
	    (size_t)snprintf(path, sizeof(path), "%s/%s", directory,
			     address->host) >= sizeof(address->host))
		return failed(problem, -ENAMETOOLONG, address);
	memcpy(address->host, path, strlen(path) + 1);
	return 0;
}

int bind_resolve(struct address *address, struct problem *problem)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;

	if (address->kind == ADDRESS_UNIX)
		return resolve_path(address, problem);
	if (address->kind == ADDRESS_DESCRIPTOR ||
	    address->kind == ADDRESS_SYSTEMD || address->host[0] == '\0')
		return 0;

	int error = getaddrinfo(address->host, NULL, &hints, &found);

	if (error != 0)
		return problem_set(problem, -EINVAL, "ADDRESS_UNKNOWN",
				   "cannot listen on '%.80s': %s (write an "
				   "address of this host, or 0.0.0.0)",
				   address->host, gai_strerror(error));
	error = getnameinfo(found->ai_addr, found->ai_addrlen, address->host,
			    sizeof(address->host), NULL, 0, NI_NUMERICHOST);
	freeaddrinfo(found);
	MUST(error == 0);
	return 0;
}

void bind_set_backlog(int descriptor, int backlog)
{
	/* It listens already, so only the number changes. */
	DISCARD(listen(descriptor, backlog));
}

/* A path that is too long is said relative to where we are. */
static int local_address(const struct address *address, union any_address *to,
			 socklen_t *length)
{
	struct sockaddr_un *local = &to->local;
	const char *path = address->host;
	char directory[ADDRESS_HOST_BYTES];

	local->sun_family = AF_UNIX;
	if (path[0] == '@') {
		size_t name = strlen(path + 1);

		if (name >= sizeof(local->sun_path))
			return -ENAMETOOLONG;
		local->sun_path[0] = '\0';
		memcpy(local->sun_path + 1, path + 1, name);
		*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				      1 + name);
		return 0;
	}
	if (strlen(path) >= sizeof(local->sun_path) &&
	    getcwd(directory, sizeof(directory)) != NULL) {
		size_t prefix = strlen(directory);

		if (strncmp(path, directory, prefix) == 0 &&
		    path[prefix] == '/')
			path += prefix + 1;
	}
	if (strlen(path) >= sizeof(local->sun_path))
		return -ENAMETOOLONG;
	memcpy(local->sun_path, path, strlen(path) + 1);
	*length = sizeof(*local);
	return 0;
}

static int inet_address(const struct address *address, union any_address *to,
			socklen_t *length)
{
	*to = (union any_address){ 0 };
	if (inet_pton(AF_INET, address->host, &to->v4.sin_addr) == 1) {
		to->v4.sin_family = AF_INET;
		to->v4.sin_port = htons(address->port);
		*length = sizeof(to->v4);
		return 0;
	}
	to->v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					.sin6_port = htons(address->port),
					.sin6_addr = in6addr_any };
	*length = sizeof(to->v6);
	if (address->host[0] == '\0')
		return 0;

	/* getaddrinfo reads the zone of a link-local address too. */
	struct addrinfo hints = { .ai_family = AF_INET6,
				  .ai_flags = AI_NUMERICHOST };
	struct addrinfo *found;

	if (getaddrinfo(address->host, NULL, &hints, &found) != 0)
		return -EINVAL;
	memcpy(&to->v6, found->ai_addr, sizeof(to->v6));
	to->v6.sin6_port = htons(address->port);
	freeaddrinfo(found);
	return 0;
}

static void set_option(int descriptor, int level, int option, int value)
{
	/* Advice: what cannot be set shows at bind or does no harm. */
	DISCARD(setsockopt(descriptor, level, option, &value, sizeof(value)));
}

static void describe(struct bound *bound)
{
	union any_address real = { 0 };
	socklen_t length = sizeof(real);
	int type = SOCK_STREAM;
	socklen_t type_length = sizeof(type);

	DISCARD(getsockname(bound->descriptor, &real.any, &length));
	DISCARD(getsockopt(bound->descriptor, SOL_SOCKET, SO_TYPE, &type,
			   &type_length));
	bool is_udp = type == SOCK_DGRAM;

	if (real.any.sa_family == AF_INET) {
		bound->type = is_udp ? BOUND_UDP4 : BOUND_TCP4;
		bound->port = ntohs(real.v4.sin_port);
	} else if (real.any.sa_family == AF_INET6) {
		bound->type = is_udp ? BOUND_UDP6 : BOUND_TCP6;
		bound->port = ntohs(real.v6.sin6_port);
	} else {
		bound->type = BOUND_UNIX;
		if (bound->host[0] == '\0')
			snprintf(bound->host, sizeof(bound->host), "%.107s",
				 real.local.sun_path);
		return;
	}
	DISCARD(getnameinfo(&real.any, length, bound->host, sizeof(bound->host),
			    NULL, 0, NI_NUMERICHOST));
}

static int start_listening(int descriptor, const struct bind_options *options)
{
	int is_listening = 0;
	socklen_t length = sizeof(is_listening);
	int type = 0;
	socklen_t type_length = sizeof(type);

	if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &type_length) <
	    0)
		return -errno;
	if (type == SOCK_DGRAM)
		return 0;
	DISCARD(getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &is_listening,
			   &length));
	/* Connections inherit it: a reply must not wait for an ACK. */
	set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
	if (!is_listening && listen(descriptor, options->backlog) < 0)
		return -errno;
	return 0;
}

/* LISTEN_FDS, LISTEN_FDNAMES: systemd's socket activation, sd_listen_fds(3) */
static int find_systemd(const char *wanted)
{
	const char *pid = getenv("LISTEN_PID");
	const char *count_text = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");

	if (count_text == NULL ||
	    (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return -ENOENT;
	long count = strtol(count_text, NULL, 10);
	char *end;
	long index = strtol(wanted, &end, 10);

	if (*end == '\0')
		return index >= 0 && index < count
			       ? LISTEN_FDS_START + (int)index
			       : -ENOENT;
	for (long i = 0; names != NULL && i < count; i++) {
		size_t length = strcspn(names, ":");

		if (length == strlen(wanted) &&
		    strncmp(names, wanted, length) == 0)
			return LISTEN_FDS_START + (int)i;
		names = names[length] == ':' ? names + length + 1 : NULL;
	}
	return -ENOENT;
}

static int open_inherited(const struct address *address,
			  const struct bind_options *options,
			  struct bound *bound, struct problem *problem)
{
	int given = address->port;

	if (address->kind == ADDRESS_SYSTEMD)
		given = find_systemd(address->host);
	if (given < 0)
		return problem_set(problem, given, "LISTEN_NOT_PASSED",
				   "systemd passed no socket '%.80s' (see "
				   "LISTEN_FDS and FileDescriptorName=)",
				   address->host);
	int copy = fcntl(given, F_DUPFD_CLOEXEC, LISTEN_FDS_START);
	int error = copy < 0 ? -errno : start_listening(copy, options);

	if (error < 0) {
		if (copy >= 0)
			close(copy);
		return problem_set(problem, error, "LISTEN_FAILED",
				   "cannot listen on descriptor %d: %s (it must"
				   " be a socket that the primary has open)",
				   given, strerror(-error));
	}
	/* Flags are those of the open file description: everyone's. */
	DISCARD(fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK));
	*bound = (struct bound){ .descriptor = copy, .is_inherited = true };
	describe(bound);
	return 0;
}

/* A socket file that nobody answers at was left by a program that died. */
static bool is_stale(const struct address *address, const union any_address *to,
		     socklen_t length)
{
	if (address->kind != ADDRESS_UNIX || address->host[0] == '@')
		return false;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (probe < 0)
		return false;
	bool is_refused =
		connect(probe, &to->any, length) < 0 && errno == ECONNREFUSED;

	close(probe);
	return is_refused;
}

static int bind_address(int descriptor, const struct address *address,
			const struct bind_options *options)
{
	union any_address to = { 0 };
	socklen_t length = 0;
	int error = address->kind == ADDRESS_UNIX
			    ? local_address(address, &to, &length)
			    : inet_address(address, &to, &length);

	if (error < 0)
		return error;
	if (to.any.sa_family == AF_INET6)
		set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY,
			   options->ipv6_only);
	if (bind(descriptor, &to.any, length) == 0)
		return 0;
	error = -errno;
	if (error == -EADDRINUSE && is_stale(address, &to, length)) {
		unlink(to.local.sun_path);
		return bind(descriptor, &to.any, length) < 0 ? -errno : 0;
	}
	return error;
}

static int family_of(const struct address *address)
{
	struct in_addr v4;

	if (address->kind == ADDRESS_UNIX)
		return AF_UNIX;
	return inet_pton(AF_INET, address->host, &v4) == 1 ? AF_INET : AF_INET6;
}

static void set_mode(const struct address *address,
		     const struct bind_options *options)
{
	struct stat status;
	mode_t more = 0;

	if (address->kind != ADDRESS_UNIX || address->host[0] == '@')
		return;
	if (options->readable_all)
		more |= S_IRUSR | S_IRGRP | S_IROTH;
	if (options->writable_all)
		more |= S_IWUSR | S_IWGRP | S_IWOTH;
	if (options->readable_all && options->writable_all)
		more |= S_IXUSR | S_IXGRP | S_IXOTH;
	if (more != 0 && stat(address->host, &status) == 0)
		DISCARD(chmod(address->host, status.st_mode | more));
}

static int open_bound(int family, const struct address *address,
		      const struct bind_options *options)
{
	int type = address->kind == ADDRESS_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int descriptor = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (descriptor < 0)
		return -errno;
	if (address->kind == ADDRESS_TCP || options->reuse_address)
		set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);
	if (options->reuse_port)
		set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1);

	int error = bind_address(descriptor, address, options);

	if (error == 0) {
		set_mode(address, options);
		error = start_listening(descriptor, options);
	}
	if (error < 0) {
		close(descriptor);
		return error;
	}
	return descriptor;
}

int bind_open(const struct address *address, const struct bind_options *options,
	      struct bound *bound, struct problem *problem)
{
	if (address->kind == ADDRESS_DESCRIPTOR ||
	    address->kind == ADDRESS_SYSTEMD)
		return open_inherited(address, options, bound, problem);

	struct address where = *address;
	int descriptor = open_bound(family_of(address), address, options);

	if (descriptor == -EAFNOSUPPORT && address->host[0] == '\0') {
		/* "Every address" on a host without IPv6. */
		memcpy(where.host, "0.0.0.0", sizeof("0.0.0.0"));
		descriptor = open_bound(AF_INET, &where, options);
	}
	if (descriptor < 0)
		return failed(problem, descriptor, address);
	*bound = (struct bound){ .descriptor = descriptor };
	if (address->kind == ADDRESS_UNIX)
		memcpy(bound->host, address->host, sizeof(bound->host));
	describe(bound);
	return 0;
}

void bind_write_url(const struct bound *bound, char url[BOUND_URL_BYTES])
{
	bool is_udp = bound->type == BOUND_UDP4 || bound->type == BOUND_UDP6;
	bool is_v6 = bound->type == BOUND_TCP6 || bound->type == BOUND_UDP6;

	if (bound->type == BOUND_UNIX)
		snprintf(url, BOUND_URL_BYTES, "unix:%s", bound->host);
	else
		snprintf(url, BOUND_URL_BYTES, "%s://%s%s%s:%u",
			 is_udp ? "udp" : "tcp", is_v6 ? "[" : "", bound->host,
			 is_v6 ? "]" : "", bound->port);
}

void bind_unlink(const struct bound *bound)
{
	if (bound->type == BOUND_UNIX && bound->host[0] == '/' &&
	    !bound->is_inherited)
		unlink(bound->host);
}
