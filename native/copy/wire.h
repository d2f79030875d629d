// The direct way of a copy: the stream goes over a socket (the host's end) or a virtio-serial port (the guest's end) instead of stdin and stdout.
#ifndef BANGER_COPY_WIRE_H
#define BANGER_COPY_WIRE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_HELLO 16

struct copy_wire_options {
  enum { COPY_PIPE, COPY_PORT, COPY_SOCKET } kind;
  // What each end says first, so that nobody takes what an earlier copy left on the way, or an earlier copy's host, for this one's.
  uint8_t hello[COPY_HELLO];
  // Of a socket: its path, how long the other end may keep this one waiting in sum, and the bytes a second that begin the count anew.
  const char *path;
  uint64_t stall_ms;
  uint64_t floor;
};

void copy_wire_use(const struct copy_wire_options *options);
// False: the stream is stdin or stdout, and nothing below may be called.
bool copy_wire_on(void);
bool copy_wire_is_port(void);
// Connects and answers the descriptor; `own` is stdin or stdout, which is the port.
int copy_wire_open(int own);
// Says hello and waits for the other end's. What came behind it is moved to the buffer's begin: its length is the answer.
size_t copy_wire_greet(uint8_t *buffer, size_t size);
// One byte at least, and what is there without waiting; 0: the end. -1 with errno.
int64_t copy_wire_read(uint8_t *into, size_t room);
// All of it, or the program ends.
void copy_wire_write(const uint8_t *data, size_t length);
// To be said by a receiver that has the end mark.
void copy_wire_thank(void);
// After the last byte: waits until nothing of what is on the way can be lost any more.
void copy_wire_settle(void);
#endif
