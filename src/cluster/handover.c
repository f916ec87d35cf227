#include "cluster/handover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"
#include "cluster/roster.h"
#include "loop/timer.h"

/* How often the board is looked at while connections wait on it. */
#define LOOK_MS 5
/* Not taken up for so long, with others idle: it goes to one of those. */
#define STALL_MS 15
/* Refused by so many workers, a connection is closed. */
#define REFUSERS_MAX 8
/* Sent in one piece; the first workers start while the rest is accepted. */
#define BATCH_MAX 16

/* The frame of a CONNECTION: three numbers. */
#define CONNECTION_BYTES ((size_t)FRAME_HEAD_BYTES + 12)

/* A connection that is ours to pass on. */
struct passenger {
	int descriptor;
	uint32_t refuser_count;
	uint32_t refusers[REFUSERS_MAX];
};

struct seat {
	struct passenger passenger;
	struct handover_line *line; /* NULL: the line is closed */
	uint32_t lane;
	uint32_t turn;
	bool is_sent; /* before, the worker has nothing to say about it */
	uint64_t given_ms;
};

/* A worker, at its berth. */
struct crew {
	struct channel *channel;
	struct board_berth *board;
	struct seat seats[BOARD_SEATS];
	uint8_t vacant[BOARD_SEATS]; /* seats, as a stack */
	uint8_t seated[BOARD_SEATS]; /* seats, oldest first */
	uint32_t vacant_count;
	uint32_t seated_count;
	uint32_t next_turn;
	uint32_t given[BOARD_LANES]; /* less what was refused or revoked */
	uint32_t lane_count;
	bool is_stuck;
	bool is_full; /* its channel takes no more, until the next look */
	/* What leaves with the next handover_send(). */
	uint8_t frames[BATCH_MAX * CONNECTION_BYTES];
	int descriptors[BATCH_MAX];
	uint8_t batch[BATCH_MAX];
	uint32_t batch_count;
};

struct handover_line {
	struct list link;
	struct handover *handover;
	struct roster *roster;
	uint32_t listener;
	uint32_t lanes[BOARD_BERTHS];
	struct buffer waiting; /* of struct passenger, in order */
	bool wants_room;       /* the owner was told there is none */
	handover_room_fn on_room;
	void *owner;
};

struct handover {
	struct loop *loop;
	struct board *board;
	struct crew *crews[BOARD_BERTHS];
	uint32_t crews_end; /* none from here on */
	struct list lines;
	struct timer *look;
};

static void pass_on(struct handover_line *line);

static size_t waiting_count(const struct handover_line *line)
{
	return buffer_length(&line->waiting) / sizeof(struct passenger);
}

static void keep_looking(struct handover *handover)
{
	if (!timer_is_started(handover->look))
		timer_start(handover->look, LOOK_MS, LOOK_MS);
}

/* ---- seats ---- */

static void vacate(struct crew *crew, uint32_t place)
{
	uint8_t index = crew->seated[place];

	crew->seated_count--;
	memmove(&crew->seated[place], &crew->seated[place + 1],
		crew->seated_count - place);
	crew->vacant[crew->vacant_count++] = index;
	crew->seats[index].line = NULL;
	crew->seats[index].passenger.descriptor = -1;
}

static void wait_again(struct handover_line *line,
		       const struct passenger *passenger)
{
	if (line == NULL || passenger->refuser_count == REFUSERS_MAX) {
		close(passenger->descriptor);
		return;
	}
	buffer_append(&line->waiting, passenger, sizeof(*passenger));
	keep_looking(line->handover);
}

/* Acts on what the worker has said about the seat; true: it is vacant now. */
static bool settle_seat(struct crew *crew, uint32_t berth, uint32_t place)
{
	struct seat *seat = &crew->seats[crew->seated[place]];
	uint32_t word = atomic_load(&crew->board->seats[crew->seated[place]]);

	if (!seat->is_sent)
		return false;
	if (word == seat_word(seat->turn, SEAT_TAKEN)) {
		close(seat->passenger.descriptor);
		vacate(crew, place);
		return true;
	}
	if (word == seat_word(seat->turn, SEAT_REFUSED)) {
		struct passenger passenger = seat->passenger;
		struct handover_line *line = seat->line;

		crew->given[seat->lane]--;
		if (passenger.refuser_count < REFUSERS_MAX)
			passenger.refusers[passenger.refuser_count++] = berth;
		vacate(crew, place);
		wait_again(line, &passenger);
		return true;
	}
	return false;
}

static void settle(struct crew *crew, uint32_t berth)
{
	for (uint32_t place = 0; place < crew->seated_count;)
		if (!settle_seat(crew, berth, place))
			place++;
}

/* Takes back what the worker has not touched. */
static void revoke_given(struct crew *crew, uint32_t berth)
{
	for (uint32_t place = 0; place < crew->seated_count;) {
		uint8_t index = crew->seated[place];
		struct seat *seat = &crew->seats[index];

		if (!seat->is_sent || !seat_move(&crew->board->seats[index],
						 seat->turn, SEAT_REVOKED)) {
			/* It was faster. */
			if (!settle_seat(crew, berth, place))
				place++;
			continue;
		}
		struct passenger passenger = seat->passenger;
		struct handover_line *line = seat->line;

		crew->given[seat->lane]--;
		vacate(crew, place);
		wait_again(line, &passenger);
	}
}

/* The worker is gone: what it held was its own. */
static void clear_seats(struct crew *crew, uint32_t berth)
{
	revoke_given(crew, berth);
	while (crew->seated_count > 0) {
		close(crew->seats[crew->seated[0]].passenger.descriptor);
		vacate(crew, 0);
	}
}

static uint32_t open_in_lane(const struct crew *crew, uint32_t lane)
{
	uint32_t open =
		crew->given[lane] - atomic_load(&crew->board->closed[lane]);

	return open > INT32_MAX ? 0 : open; /* closed more than it had */
}

static uint32_t open_in_all(const struct crew *crew)
{
	uint32_t open = 0;

	for (uint32_t lane = 0; lane < crew->lane_count; lane++)
		open += open_in_lane(crew, lane);
	return open;
}

/* ---- the ways in and out ---- */

static bool is_given(const struct crew *crew, uint32_t place)
{
	uint8_t index = crew->seated[place];

	return atomic_load(&crew->board->seats[index]) ==
	       seat_word(crew->seats[index].turn, SEAT_GIVEN);
}

static bool is_idle(const struct crew *crew)
{
	if (crew->is_stuck || crew->is_full)
		return false;
	for (uint32_t place = 0; place < crew->seated_count; place++)
		if (is_given(crew, place))
			return false;
	return true;
}

static bool others_are_idle(const struct handover_line *line, uint32_t berth)
{
	for (size_t i = 0; i < roster_count(line->roster); i++) {
		uint32_t other = roster_berth(line->roster, i);

		if (other != berth && is_idle(line->handover->crews[other]))
			return true;
	}
	return false;
}

static void set_stuck(struct crew *crew)
{
	crew->is_stuck = true;
	atomic_store(&crew->board->wants_wake, 1);
}

/* A worker that leaves connections lying is stuck; if somebody else is idle
 * they are theirs. */
static void look_for_stall(struct handover *handover, uint32_t berth)
{
	struct crew *crew = handover->crews[berth];

	uint32_t place = 0;

	while (place < crew->seated_count && !is_given(crew, place))
		place++;
	if (place == crew->seated_count)
		return;
	struct seat *oldest = &crew->seats[crew->seated[place]];

	if (loop_now_ms(handover->loop) - oldest->given_ms < STALL_MS ||
	    oldest->line == NULL || !others_are_idle(oldest->line, berth))
		return;
	set_stuck(crew);
	revoke_given(crew, berth);
}

static void serve_lines(struct handover *handover)
{
	LIST_EACH (&handover->lines, link) {
		struct handover_line *line =
			LIST_ENTRY(link, struct handover_line, link);

		if (waiting_count(line) > 0) {
			handover_refresh(line);
			pass_on(line);
			handover_send(line);
		}
		if (line->wants_room && handover_has_room(line)) {
			line->wants_room = false;
			line->on_room(line->owner);
		}
	}
}

/* Full channels are tried again; true: there are some. */
static bool forget_full(struct handover *handover)
{
	bool was_full = false;

	for (uint32_t berth = 0; berth < handover->crews_end; berth++) {
		struct crew *crew = handover->crews[berth];

		if (crew == NULL || !crew->is_full)
			continue;
		crew->is_full = false;
		was_full = true;
	}
	return was_full;
}

static void on_look(void *owner)
{
	struct handover *handover = owner;
	uint32_t seated = 0;
	size_t waiting = 0;

	for (uint32_t berth = 0; berth < handover->crews_end; berth++) {
		if (handover->crews[berth] == NULL)
			continue;
		settle(handover->crews[berth], berth);
		look_for_stall(handover, berth);
	}
	serve_lines(handover);
	/* What others could not take either is worth another try. */
	bool was_full = forget_full(handover);

	if (was_full)
		serve_lines(handover);
	for (uint32_t berth = 0; berth < handover->crews_end; berth++)
		if (handover->crews[berth] != NULL)
			seated += handover->crews[berth]->seated_count;
	LIST_EACH (&handover->lines, link) {
		struct handover_line *line =
			LIST_ENTRY(link, struct handover_line, link);

		waiting += waiting_count(line);
	}
	if (seated == 0 && waiting == 0 && !was_full)
		timer_stop(handover->look);
}

struct handover *handover_new(struct loop *loop, struct board *board)
{
	struct handover *handover = mem_zalloc(sizeof(*handover));

	handover->loop = loop;
	handover->board = board;
	handover->look = timer_open(loop, on_look, handover, false);
	list_init(&handover->lines);
	return handover;
}

void handover_free(struct handover *handover)
{
	if (handover == NULL)
		return;
	MUST(list_is_empty(&handover->lines));
	for (uint32_t berth = 0; berth < handover->crews_end; berth++)
		MUST(handover->crews[berth] == NULL);
	timer_close(handover->look);
	free(handover);
}

static void clear_board(struct board_berth *board)
{
	atomic_store(&board->wants_wake, 0);
	atomic_store(&board->accepted, 0);
	atomic_store(&board->is_accepting, 0);
	for (size_t i = 0; i < BOARD_LANES; i++)
		atomic_store(&board->closed[i], 0);
	for (size_t i = 0; i < BOARD_SEATS; i++)
		atomic_store(&board->seats[i], 0);
}

/* Whoever had them has gone. */
static void clear_gauges(struct handover *handover, uint32_t berth)
{
	for (size_t i = 0; i < METER_GAUGES; i++)
		meter_set(handover->board->meters[berth], i, 0);
}

void handover_join(struct handover *handover, uint32_t berth,
		   struct channel *channel)
{
	MUST(berth < BOARD_BERTHS && handover->crews[berth] == NULL);
	struct crew *crew = mem_zalloc(sizeof(*crew));

	crew->channel = channel;
	crew->board = &handover->board->berths[berth];
	for (uint32_t i = 0; i < BOARD_SEATS; i++)
		crew->vacant[i] = (uint8_t)(BOARD_SEATS - 1 - i);
	crew->vacant_count = BOARD_SEATS;
	clear_board(crew->board);
	clear_gauges(handover, berth);
	handover->crews[berth] = crew;
	if (handover->crews_end <= berth)
		handover->crews_end = berth + 1;
	if (atomic_load(&handover->board->berths_used) <= berth)
		atomic_store(&handover->board->berths_used, berth + 1);
}

void handover_leave(struct handover *handover, uint32_t berth)
{
	struct crew *crew = handover->crews[berth];

	if (crew == NULL)
		return;
	LIST_EACH (&handover->lines, link) {
		struct handover_line *line =
			LIST_ENTRY(link, struct handover_line, link);

		roster_remove(line->roster, berth);
	}
	clear_seats(crew, berth);
	atomic_store(&crew->board->is_accepting, 0);
	clear_gauges(handover, berth);
	handover->crews[berth] = NULL;
	free(crew);
	serve_lines(handover);
}

void handover_wake(struct handover *handover, uint32_t berth)
{
	struct crew *crew = handover->crews[berth];

	if (crew == NULL)
		return;
	crew->is_stuck = false;
	settle(crew, berth);
	serve_lines(handover);
}

void handover_set_stuck(struct handover *handover, uint32_t berth)
{
	if (handover->crews[berth] != NULL)
		set_stuck(handover->crews[berth]);
}

uint32_t handover_open(const struct handover *handover, uint32_t berth)
{
	const struct crew *crew = handover->crews[berth];

	return crew == NULL ? 0 : open_in_all(crew);
}

/* ---- lines ---- */

struct handover_line *handover_line_open(struct handover *handover,
					 uint32_t listener,
					 enum muster_schedule schedule,
					 handover_room_fn on_room, void *owner)
{
	struct handover_line *line = mem_zalloc(sizeof(*line));

	line->handover = handover;
	line->roster = roster_new(schedule);
	line->listener = listener;
	line->on_room = on_room;
	line->owner = owner;
	list_add_last(&handover->lines, &line->link);
	return line;
}

void handover_line_close(struct handover_line *line)
{
	struct handover *handover = line->handover;
	struct passenger passenger;

	for (uint32_t berth = 0; berth < handover->crews_end; berth++) {
		struct crew *crew = handover->crews[berth];

		for (uint32_t i = 0; crew != NULL && i < BOARD_SEATS; i++)
			if (crew->seats[i].line == line)
				crew->seats[i].line = NULL;
	}
	while (waiting_count(line) > 0) {
		memcpy(&passenger, buffer_bytes(&line->waiting),
		       sizeof(passenger));
		buffer_consume(&line->waiting, sizeof(passenger));
		close(passenger.descriptor);
	}
	buffer_fini(&line->waiting);
	list_remove(&line->link);
	roster_free(line->roster);
	free(line);
}

void handover_line_join(struct handover_line *line, uint32_t berth,
			uint32_t lane, uint32_t limit)
{
	struct crew *crew = line->handover->crews[berth];

	MUST(crew != NULL && lane < BOARD_LANES);
	if (crew->lane_count <= lane)
		crew->lane_count = lane + 1;
	line->lanes[berth] = lane;
	MUST(roster_add(line->roster, berth, limit) == 0);
	handover_refresh(line);
	serve_lines(line->handover);
}

void handover_line_leave(struct handover_line *line, uint32_t berth)
{
	roster_remove(line->roster, berth);
}

void handover_refresh(struct handover_line *line)
{
	for (size_t i = 0; i < roster_count(line->roster); i++) {
		uint32_t berth = roster_berth(line->roster, i);
		struct crew *crew = line->handover->crews[berth];

		settle(crew, berth);
		struct roster_load load = {
			.open = open_in_all(crew),
			.open_here = open_in_lane(crew, line->lanes[berth]),
			.seats = crew->vacant_count,
			.is_stuck = crew->is_stuck || crew->is_full,
		};

		roster_set_load(line->roster, berth, &load);
	}
}

bool handover_has_room(struct handover_line *line)
{
	if (waiting_count(line) == 0 && roster_has_room(line->roster))
		return true;
	/* Ask to be woken first, then look again: news in between counts. */
	for (size_t i = 0; i < roster_count(line->roster); i++) {
		uint32_t berth = roster_berth(line->roster, i);

		atomic_store(&line->handover->crews[berth]->board->wants_wake,
			     1);
	}
	handover_refresh(line);
	if (waiting_count(line) == 0 && roster_has_room(line->roster))
		return true;
	line->wants_room = true;
	return false;
}

static void send_batch(struct handover *handover, struct crew *crew)
{
	if (crew->batch_count == 0)
		return;
	size_t bytes = crew->batch_count * CONNECTION_BYTES;
	int error = 0;

	if (channel_queued_bytes(crew->channel) > 0)
		error = channel_flush(crew->channel);
	if (error == 0)
		error = channel_send_now(crew->channel, crew->frames, bytes,
					 crew->descriptors, crew->batch_count);
	uint32_t count = crew->batch_count;

	crew->batch_count = 0;
	keep_looking(handover);
	for (uint32_t i = 0; i < count; i++)
		crew->seats[crew->batch[i]].is_sent = true;
	if (error == 0)
		return;

	/* It reads nothing, or other things first, or is gone: these never
	 * left, others take them. They are the last ones seated. */
	if (error == -EAGAIN)
		crew->is_full = true;
	else
		set_stuck(crew);
	while (count-- > 0) {
		uint32_t place = crew->seated_count - 1;
		struct seat *seat = &crew->seats[crew->seated[place]];
		struct passenger passenger = seat->passenger;
		struct handover_line *line = seat->line;

		atomic_store(&crew->board->seats[crew->seated[place]],
			     seat_word(seat->turn, SEAT_REVOKED));
		crew->given[seat->lane]--;
		vacate(crew, place);
		wait_again(line, &passenger);
	}
}

static void seat_passenger(struct handover_line *line, uint32_t berth,
			   const struct passenger *passenger)
{
	struct crew *crew = line->handover->crews[berth];

	MUST(crew->vacant_count > 0);
	uint8_t index = crew->vacant[--crew->vacant_count];
	uint32_t turn = crew->next_turn++ & (UINT32_MAX >> 3);
	uint32_t lane = line->lanes[berth];

	crew->seats[index] = (struct seat){
		.passenger = *passenger,
		.line = line,
		.lane = lane,
		.turn = turn,
		.given_ms = loop_now_ms(line->handover->loop),
	};
	crew->seated[crew->seated_count++] = index;
	crew->given[lane]++;
	atomic_store(&crew->board->seats[index], seat_word(turn, SEAT_GIVEN));

	struct message message = {
		.type = MESSAGE_CONNECTION,
		.connection = { .listener = line->listener,
				.seat = index,
				.turn = turn },
	};

	MUST(message_bytes(&message) == CONNECTION_BYTES);
	message_encode(&message, 1,
		       crew->frames + crew->batch_count * CONNECTION_BYTES);
	crew->descriptors[crew->batch_count] = passenger->descriptor;
	crew->batch[crew->batch_count++] = index;
	if (crew->batch_count == BATCH_MAX)
		send_batch(line->handover, crew);
}

/* Gives what waits to whoever can take it; what nobody can stays in order. */
static void pass_on(struct handover_line *line)
{
	size_t count = waiting_count(line);

	while (count-- > 0) {
		struct passenger passenger;
		uint32_t berth;

		memcpy(&passenger, buffer_bytes(&line->waiting),
		       sizeof(passenger));
		buffer_consume(&line->waiting, sizeof(passenger));
		switch (roster_pick(line->roster, passenger.refusers,
				    passenger.refuser_count, &berth)) {
		case ROSTER_OK:
			seat_passenger(line, berth, &passenger);
			break;
		case ROSTER_ALL_REFUSED:
			close(passenger.descriptor);
			break;
		case ROSTER_ALL_BUSY:
			buffer_append(&line->waiting, &passenger,
				      sizeof(passenger));
			break;
		}
	}
}

void handover_give_take(struct handover_line *line, int descriptor)
{
	struct passenger passenger = { .descriptor = descriptor };
	uint32_t berth;

	if (waiting_count(line) == 0 &&
	    roster_pick(line->roster, NULL, 0, &berth) == ROSTER_OK)
		seat_passenger(line, berth, &passenger);
	else
		wait_again(line, &passenger);
}

void handover_send(struct handover_line *line)
{
	struct handover *handover = line->handover;

	for (uint32_t berth = 0; berth < handover->crews_end; berth++)
		if (handover->crews[berth] != NULL)
			send_batch(handover, handover->crews[berth]);
}
