// `agent udp`: datagrams between the host and one port of this guest. On stdin and stdout each has length u16 and client u16 before it; each
// client has a socket of its own, so that answers find their way.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "frame.h"
#include "programs.h"
#include "util.h"

#define MAX_CLIENTS 256
#define IDLE_MS 60000
#define HEAD 4
#define LONGEST 65535
// Of one client at a time, before the others have their turn.
#define BURST 32

struct client {
  int fd;
  uint16_t id;
  int64_t used;
};

static struct client clients[MAX_CLIENTS];
static size_t client_count;
static struct sockaddr_storage target;
static socklen_t target_size;

static void drop(size_t index) {
  close(clients[index].fd);
  clients[index] = clients[--client_count];
}

static void drop_idle(int64_t now) {
  for (size_t i = client_count; i-- > 0;)
    if (now - clients[i].used >= IDLE_MS) drop(i);
}

// Where all have been used lately, the one that was used longest ago gives way.
static void make_room(void) {
  size_t oldest = 0;
  if (client_count < MAX_CLIENTS) return;
  for (size_t i = 1; i < client_count; i++)
    if (clients[i].used < clients[oldest].used) oldest = i;
  drop(oldest);
}

static struct client *client_of(uint16_t id) {
  for (size_t i = 0; i < client_count; i++)
    if (clients[i].id == id) return &clients[i];
  make_room();
  int fd = socket(target.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return NULL;
  if (connect(fd, (struct sockaddr *)&target, target_size) < 0) {
    close(fd);
    return NULL;
  }
  clients[client_count] = (struct client){.fd = fd, .id = id};
  return &clients[client_count++];
}

// What cannot be sent is lost, as datagrams are.
static void to_guest(uint16_t id, const uint8_t *data, size_t length, int64_t now) {
  struct client *c = client_of(id);
  if (!c) return;
  c->used = now;
  // That nobody took an earlier one is said once, in place of sending this one.
  if (send(c->fd, data, length, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED) send(c->fd, data, length, MSG_NOSIGNAL);
}

// false: the host is gone.
static bool take_input(int64_t now) {
  static uint8_t data[2 * (HEAD + LONGEST)];
  static size_t have;
  size_t at = 0;
  ssize_t n = read(0, data + have, sizeof data - have);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  have += (size_t)n;
  while (have - at >= HEAD && have - at - HEAD >= get_u16(data + at)) {
    size_t length = get_u16(data + at);
    to_guest(get_u16(data + at + 2), data + at + HEAD, length, now);
    at += HEAD + length;
  }
  have -= at;
  memmove(data, data + at, have);
  return true;
}

static bool to_host(struct client *c, int64_t now) {
  static uint8_t data[HEAD + LONGEST];
  for (int i = 0; i < BURST; i++) {
    ssize_t n = recv(c->fd, data + HEAD, LONGEST, 0);
    // ECONNREFUSED: nobody listens there, which a client learns from silence.
    if (n < 0) return true;
    c->used = now;
    put_u16(data, (uint16_t)n);
    put_u16(data + 2, c->id);
    if (!write_all(1, data, HEAD + (size_t)n)) return false;
  }
  return true;
}

static int relay(void) {
  struct pollfd fds[2 + MAX_CLIENTS];
  for (;;) {
    fds[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = 1};
    size_t count = client_count;
    for (size_t i = 0; i < count; i++) fds[2 + i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
    int ready = poll(fds, 2 + count, count > 0 ? 1000 : -1);
    int64_t now = now_ms();
    if (ready > 0 && fds[1].revents) return 0;
    for (size_t i = 0; ready > 0 && i < count; i++)
      if (fds[2 + i].revents && !to_host(&clients[i], now)) return 0;
    if (ready > 0 && fds[0].revents && !take_input(now)) return 0;
    drop_idle(now);
  }
}

int udp_main(int argc, char **argv) {
  unsigned long port = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
  const char *text = argc > 2 ? argv[2] : "127.0.0.1";
  bool known = address_parse(&target, &target_size, text, (uint16_t)port);
  if (argc < 2 || argc > 3 || argv[1][strspn(argv[1], "0123456789")] || port == 0 || port > 65535 || !known) {
    fprintf(stderr, "usage: agent udp PORT [ADDRESS]\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  return relay();
}
