// The two ends of the stream: stdin of `receive`, stdout of `send`, or what wire.h has instead. All reads and writes are big; large file contents go by splice where the end is a pipe.
#ifndef BANGER_COPY_STREAM_H
#define BANGER_COPY_STREAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_BLOCK 512
// From this size on contents are spliced. Below, a copy costs less than the extra calls.
#define COPY_SPLICE_FROM (256 << 10)
// O_DIRECT takes whole ones of these.
#define COPY_UNIT 4096

// Input. HUP, INT and TERM end it.
void copy_in_open(void);
// The next block, or NULL at the end (also in the middle of a block).
const uint8_t *copy_in_block(void);
// What copy_in_block could not complete.
size_t copy_in_rest(const uint8_t **data);
// At most `want` bytes, one at least; 0 at the end.
size_t copy_in_some(const uint8_t **data, uint64_t want);
// Between `least` (1 MiB at most) and `want` bytes, cut to whole units, from a place in memory that is a block's; 0 at the end.
size_t copy_in_units(const uint8_t **data, size_t least, uint64_t want);
bool copy_in_exactly(void *into, size_t length);
bool copy_in_skip(uint64_t length);
// Moves at most `want` bytes straight into a file at its position: what it moved, 0 at the end of the input, -1 with errno; EINVAL: not possible here.
int64_t copy_in_splice(int fd, uint64_t want);
// Nothing is buffered, so that copy_in_splice may be used.
bool copy_in_empty(void);
// Reads up to 1 MiB until the end or a second without data. Not from a wire, where the stream ends exactly with its end mark.
void copy_in_drain(void);
uint64_t copy_in_bytes(void);
// The signal that ended it, or 0.
int copy_in_signal(void);

// Output. A failed write ends the program.
void copy_out_open(void);
void copy_out_write(const void *data, size_t length);
void copy_out_zeros(uint64_t length);
// Room for `length` bytes (at most COPY_OUT_ROOM) in the buffer; copy_out_used says how many were filled.
#define COPY_OUT_ROOM (256 << 10)
uint8_t *copy_out_room(size_t length);
void copy_out_used(size_t length);
// Moves at most `want` bytes from a file at `offset`: as copy_in_splice, 0 is the end of the file.
int64_t copy_out_splice(int fd, uint64_t offset, uint64_t want);
void copy_out_flush(void);
// To be called last: nothing that was written gets lost when the program ends.
void copy_out_settle(void);
uint64_t copy_out_bytes(void);
#endif
