/* Messages and calls among nodes that are real processes. MUSTER_TEST_STORE
 * says which back end: lmdb, redis or cluster. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "speakers.h"

/* ---- calls ---- */

static void the_first_answer_of_all_is_the_answer(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);
	struct process *caller = start_caller();

	command(caller, "all hello - {\"a\":[1,\"x\"]}");
	expect(caller,
	       "reply code=0 error= value={\"a\":[1,\"x\"]} from=app-worker-* "
	       "text=");
	/* Every node had it; the caller has no such method. */
	expect(first, "Hello from the node app-worker-1");
	expect(second, "Hello from the node app-worker-2");
	command(caller, "tell hello");
	expect(caller, "told code=0");
	expect(first, "Hello from the node app-worker-1");
	expect(second, "Hello from the node app-worker-2");
}

static void one_node_alone_is_asked(void)
{
	open_store();
	struct process *first = start_node(1);

	start_node(2);
	struct process *caller = start_caller();

	command(caller, "node hello app-worker-2 7");
	expect(caller, "reply code=0 error= value=7 from=app-worker-2 text=");
	command(caller, "node status app-worker-2");
	expect(caller, "reply code=0 error= value={\"id\":\"app-worker-2\"*");
	/* Itself, too. */
	command(caller, "node status caller-worker-1");
	expect(caller,
	       "reply code=0 error= value={\"id\":\"caller-worker-1\"*");
	expect_none(first, "Hello*");
}

static void each_error_has_its_word(void)
{
	open_store();
	start_node(1);
	struct process *caller = start_caller();

	command(caller, "node refuse app-worker-1 {\"day\":\"Sunday\"}");
	expect(caller,
	       "reply code=%d error=CALLEE_ERROR value=null "
	       "from=app-worker-1 text=not on a Sunday",
	       -EREMOTEIO);
	command(caller, "node nothing app-worker-1");
	expect(caller, "reply code=%d error=NO_SUCH_METHOD *", -ENOSYS);
	command(caller, "all nothing");
	expect(caller, "reply code=%d error=NO_SUCH_METHOD *", -ENOSYS);
	/* What is not allowed is not there. */
	command(caller, "node log app-worker-1");
	expect(caller, "reply code=%d error=NO_SUCH_METHOD *", -ENOSYS);
	command(caller, "node hello app-worker-9");
	expect(caller, "reply code=%d error=NO_RESPONDERS *", -EHOSTUNREACH);
	command(caller, "node noJson app-worker-1");
	expect(caller, "reply code=%d error=CALLEE_ERROR *no JSON*",
	       -EREMOTEIO);
	command(caller, "brief nap app-worker-1 {\"ms\":60000}");
	expect(caller, "reply code=%d error=TIMEOUT *", -ETIMEDOUT);
	command(caller, "node hello app-worker-1 {");
	expect(caller, "reply code=%d error=ARGUMENTS_INVALID *", -EINVAL);
	/* What follows a value is no part of it. */
	command(caller, "node hello app-worker-1 1,\"method\":\"status\"");
	expect(caller, "reply code=%d error=ARGUMENTS_INVALID *", -EINVAL);
}

static void one_that_dies_meanwhile_is_told_at_once(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);
	struct process *caller = start_caller();

	command(caller, "node die app-worker-1");
	expect(first, "dies");
	expect_exit(first, -SIGKILL);
	expect(caller,
	       "reply code=%d error=PEER_DOWN value=null from=app-worker-1 *",
	       -EHOSTDOWN);
	command(caller, "node nap app-worker-2 {\"ms\":60000}");
	expect(second, "naps");
	send_signal(second, SIGKILL);
	expect_exit(second, -SIGKILL);
	expect(caller, "reply code=%d error=PEER_DOWN *", -EHOSTDOWN);
}

static void one_that_ends_in_order_finishes_its_calls(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	command(caller, "node nap app-worker-1 {\"ms\":300}");
	expect(first, "naps");
	command(caller, "node stop app-worker-1");
	expect(caller, "reply code=0 error= value=true *");
	command(caller, "node hello app-worker-1");
	expect(caller, "reply code=%d error=PEER_DOWN *", -EHOSTDOWN);
	expect_exit(first, 0);
	expect(caller, "reply code=0 error= value=null from=app-worker-1 *");
}

static void a_connection_is_where_its_id_says(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);
	struct process *caller = start_caller();
	char one[128] = "", other[128] = "";

	sscanf(expect(first, "holds *"), "holds %127s", one);
	sscanf(expect(second, "holds *"), "holds %127s", other);
	command(caller, "connection whose %s", other);
	expect(caller, "reply code=0 error= value=null from=app-worker-2 *");
	expect(second, "about %s", other);
	/* One that there is not, of a server that there is. */
	other[0] = other[0] == '0' ? '1' : '0';
	command(caller, "connection whose %s", other);
	expect(caller, "reply code=%d error=CONNECTION_GONE *", -ENOTCONN);
	command(caller, "connection whose x");
	expect(caller, "reply code=%d error=CONNECTION_GONE *", -ENOTCONN);
	send_signal(first, SIGKILL);
	expect_exit(first, -SIGKILL);
	command(caller, "connection whose %s", one);
	expect(caller, "reply code=%d error=CONNECTION_GONE *", -ENOTCONN);
	expect_none(first, "about*");
}

static void too_many_calls_are_answered_busy(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	/* One runs, one waits, the third is too many. */
	command(caller, "node nap app-worker-1 {\"ms\":60000}");
	expect(first, "naps");
	command(caller, "node nap app-worker-1 {\"ms\":1}");
	command(caller, "node nap app-worker-1 {\"ms\":2}");
	expect(caller, "reply code=%d error=BUSY *", -EBUSY);
	expect_none(caller, "reply code=0*");
	/* In order it would finish them first. */
	send_signal(first, SIGKILL);
	expect_exit(first, -SIGKILL);
}

static void all_are_gathered_and_the_silent_are_named(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);
	struct process *caller = start_caller();

	command(caller, "gather hello - 5");
	expect_in_order(caller, "gathered from=app-worker-1 error= value=5",
			"gathered from=app-worker-2 error= value=5",
			"gathered from=caller-worker-1 error=NO_SUCH_METHOD *",
			"gathered code=0 count=3 silent=0", NULL);
	expect(first, "Hello from the node app-worker-1");
	/* One that dies over it is no reason to wait. */
	send_signal(second, SIGSTOP);
	command(caller, "gather hello - 6");
	expect(first, "Hello from the node app-worker-1"); /* all are asked */
	send_signal(second, SIGKILL);
	expect_exit(second, -SIGKILL);
	expect(caller, "gathered from=app-worker-2 error=PEER_DOWN *");
	expect(caller, "gathered code=0 count=3 silent=0");
}

/* ---- messages ---- */

static void messages_come_by_type_and_by_channel(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);
	struct process *caller = start_caller();

	command(caller, "publish priceChanged {\"eur\":5}");
	expect(caller, "published code=0 receivers=*");
	expect(first, "news type=priceChanged channel= from=caller-worker-1 "
		      "payload={\"eur\":5}");
	expect(second, "news type=priceChanged *");
	command(caller, "publish /a/b 1");
	expect(first, "news type= channel=/a/b from=caller-worker-1 payload=1");
	expect(second, "news type= channel=/a/b *");
	command(caller, "publish /a/b/c 2");
	command(caller, "publish other 3");
	command(caller, "publish /a/d 4");
	expect(first, "news type= channel=/a/d *");
	expect_none(first, "*payload=2");
	expect_none(first, "*payload=3");
	command(caller, "publish do {}");
	expect(caller, "published code=%d *", -EINVAL);
	command(caller, "publish /a/ 1");
	expect(caller, "published code=%d *", -EINVAL);
	command(caller, "publish x {");
	expect(caller, "published code=%d *", -EINVAL);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(the_first_answer_of_all_is_the_answer),
		TEST(one_node_alone_is_asked),
		TEST(each_error_has_its_word),
		TEST(one_that_dies_meanwhile_is_told_at_once),
		TEST(one_that_ends_in_order_finishes_its_calls),
		TEST(a_connection_is_where_its_id_says),
		TEST(too_many_calls_are_answered_busy),
		TEST(all_are_gathered_and_the_silent_are_named),
		TEST(messages_come_by_type_and_by_channel),
		{ 0 },
	};

	return harness_main(argc, argv, speakers, tests);
}
