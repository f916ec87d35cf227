/*
 * stats - counters and gauges: gathered here, told the store once a second.
 *
 * In the store NAME is the sum of a counter, @SERVER/NAME one server's part of
 * it, @SERVER=NAME a gauge of that server. Flushes carry this life's nonce and
 * a number that grows, so that one whose answer was lost is repeated as it was
 * and counts once. One is under way at a time; what is counted meanwhile goes
 * with the next.
 *
 * Applications see include/muster/stats.h.
 */
#pragma once
#include <muster/stats.h>

#include "service/node.h"

extern const struct node_part stats_part;
