#define _GNU_SOURCE
#include "wire.h"
#include "report.h"
#include "stream.h"
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// How long a guest's end waits for its host to come, and for it to go.
#define HOST_MS 60000
#define LOOK_MS 5
// A receiver believes that the other end is over when nothing comes for so long after it was told so. A sender that is well waits to be thanked, so this
// is for what is on the way of one that failed.
#define SILENCE_MS 100
// A hangup of a port that lasts so long is one.
#define HANGUP_MS 1000
#define BUSY_MS 20
#define SKIPPED (8 << 20)
#define SOCKET_BUFFER (1 << 20)
#define NS_PER_MS 1000000u

static struct copy_wire_options is;
static int wire = -1;
// The pipe whose end says that the other end is over, or -1.
static int control = -1;
static bool sending, other_is_over;
// Nanoseconds that the other end kept us waiting, and bytes moved, since the count last began.
static uint64_t waited, moved;

void copy_wire_use(const struct copy_wire_options *options) { is = *options; }
bool copy_wire_on(void) { return is.kind != COPY_PIPE; }
bool copy_wire_is_port(void) { return is.kind == COPY_PORT; }

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 * NS_PER_MS + (uint64_t)time.tv_nsec;
}

static void count(size_t bytes) {
  moved += bytes;
  if (moved < is.floor * is.stall_ms / 1000) return;
  moved = waited = 0;
}

// How long the other end may still keep us waiting, for poll.
static int patience(void) {
  if (is.kind == COPY_PORT) return -1;
  uint64_t limit = is.stall_ms * NS_PER_MS;
  if (waited >= limit) copy_stalled(moved);
  return (int)((limit - waited + NS_PER_MS - 1) / NS_PER_MS);
}

static int wait_on(struct pollfd *fds, nfds_t n, int timeout) {
  uint64_t since = is.kind == COPY_SOCKET ? now() : 0;
  int ready = poll(fds, n, timeout);
  if (ready < 0 && errno != EINTR) copy_fail("cannot wait for the stream: %s", strerror(errno));
  if (is.kind == COPY_SOCKET) waited += now() - since;
  return ready;
}

// What is said on it is nobody's business.
static void listen_to_control(void) {
  char said[256];
  ssize_t n = read(control, said, sizeof said);
  if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN))) return;
  control = -1;
  other_is_over = true;
}

// A port tells of hosts that come and go by another queue than their data comes by: the hangup of an earlier host can come after the next one's hello,
// and the news of that one after it. So only a hangup that lasts is one.
static bool is_lost(void) {
  struct pollfd port = {.fd = wire, .events = POLLIN};
  for (int ms = 0; is.kind == COPY_PORT && ms < HANGUP_MS && !copy_in_signal(); ms += LOOK_MS) {
    if (poll(&port, 1, 0) == 0 || !(port.revents & (POLLHUP | POLLERR))) return false;
    poll(NULL, 0, LOOK_MS);
  }
  return true;
}

// Until the wire can be read or written. False: there is nobody to wait for any more.
static bool wait_for(short events) {
  for (;;) {
    if (copy_in_signal() || (other_is_over && sending)) return false;
    struct pollfd fds[2] = {{.fd = wire, .events = events}, {.fd = control, .events = POLLIN}};
    int timeout = patience();
    int ready = wait_on(fds, 2, other_is_over ? SILENCE_MS : timeout);
    if (ready == 0 && other_is_over) return false;
    if (ready <= 0) continue;
    if (fds[0].revents) return events == POLLIN || !(fds[0].revents & (POLLHUP | POLLERR)) || !is_lost();
    listen_to_control();
  }
}

int64_t copy_wire_read(uint8_t *into, size_t room) {
  size_t got = 0;
  while (got < room && !copy_in_signal()) {
    ssize_t n = read(wire, into + got, room - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (got > 0 || !wait_for(POLLIN)) break;
      continue;
    }
    if (n < 0 && errno != ECONNRESET) return -1;
    if (n <= 0 && (got > 0 || is_lost())) break;
    if (n <= 0) continue;
    got += (size_t)n;
    // A port gives a page at a time, and waiting for each would cost more than the page.
    if (is.kind == COPY_SOCKET) break;
  }
  count(got);
  return (int64_t)got;
}

_Noreturn static void gone(void) {
  if (!sending) tar_ended_early();
  copy_fail("the other end is gone");
}

void copy_wire_write(const uint8_t *data, size_t length) {
  while (length > 0) {
    ssize_t n = write(wire, data, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!wait_for(POLLOUT)) gone();
      continue;
    }
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) gone();
    if (n < 0) copy_fail("cannot write the stream: %s", strerror(errno));
    count((size_t)n);
    data += n;
    length -= (size_t)n;
  }
}

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int size = SOCKET_BUFFER;
  if (strlen(path) >= sizeof address.sun_path) copy_fail("cannot connect to %s: %s", path, strerror(ENAMETOOLONG));
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) copy_fail("cannot connect to %s: %s", path, strerror(errno));
  // As far as the system allows it.
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  while (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
    if (errno != EAGAIN) copy_fail("cannot connect to %s: %s", path, strerror(errno));
    // Others wait to be let in there as well.
    patience();
    wait_on(NULL, 0, BUSY_MS);
    if (copy_in_signal()) gone();
  }
  return fd;
}

int copy_wire_open(int own) {
  sending = own == 1;
  if (is.kind == COPY_SOCKET) {
    control = 0;
    return wire = connect_to(is.path);
  }
  wire = own;
  if (fcntl(wire, F_SETFL, fcntl(wire, F_GETFL) | O_NONBLOCK) < 0) copy_fail("cannot use the port: %s", strerror(errno));
  return wire;
}

static const uint8_t *find_hello(const uint8_t *in, size_t length) {
  for (const uint8_t *end = in + length; (size_t)(end - in) >= COPY_HELLO; in++) {
    in = memchr(in, is.hello[0], (size_t)(end - in) - COPY_HELLO + 1);
    if (!in || memcmp(in, is.hello, COPY_HELLO) == 0) return in;
  }
  return NULL;
}

// A port tells nobody that a host has come, so it is looked at. Who is there may be the host of an earlier copy yet, and leave: that is no end.
static int64_t look_for_host(uint8_t *into, size_t room, uint64_t until) {
  for (;;) {
    ssize_t n = read(wire, into, room);
    if (copy_in_signal()) gone();
    if (now() >= until) copy_fail("nobody came to the other end");
    if (n > 0) return n;
    poll(NULL, 0, LOOK_MS);
  }
}

size_t copy_wire_greet(uint8_t *buffer, size_t size) {
  bool port = is.kind == COPY_PORT;
  uint64_t until = now() + (uint64_t)HOST_MS * NS_PER_MS;
  if (!port) copy_wire_write(is.hello, COPY_HELLO);
  // Nothing that the other end has done.
  moved = 0;
  for (size_t have = 0, skipped = 0; port || skipped <= SKIPPED;) {
    int64_t n = port ? look_for_host(buffer + have, size - have, until) : copy_wire_read(buffer + have, size - have);
    if (n < 0) copy_fail("cannot read the stream: %s", strerror(errno));
    if (n == 0) gone();
    have += (size_t)n;
    const uint8_t *hello = find_hello(buffer, have);
    size_t done = hello ? (size_t)(hello - buffer) + COPY_HELLO : have < COPY_HELLO ? 0 : have - COPY_HELLO + 1;
    have -= done;
    memmove(buffer, buffer + done, have);
    skipped += done;
    if (!hello) continue;
    if (port) copy_wire_write(is.hello, COPY_HELLO);
    return have;
  }
  copy_fail("the guest does not answer as expected");
}

void copy_wire_thank(void) {
  // Whoever does not hear it waits until we are gone.
  if (is.kind == COPY_SOCKET) send(wire, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// With a port goes what the host has not read: it thanks for all of it, or leaves.
static void wait_for_thanks(void) {
  struct pollfd port = {.fd = wire, .events = POLLIN};
  char said;
  while (poll(&port, 1, HOST_MS) > 0)
    if (read(wire, &said, 1) > 0 || is_lost()) return;
}

void copy_wire_settle(void) {
  if (is.kind == COPY_PORT) {
    wait_for_thanks();
    return;
  }
  // With the socket goes what was not taken from it.
  copy_progress_say("sent\n");
  while (!other_is_over) {
    struct pollfd fds[2] = {{.fd = wire, .events = POLLIN}, {.fd = control, .events = POLLIN}};
    char said[4096];
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents) listen_to_control();
    if (!fds[0].revents) continue;
    ssize_t n = read(wire, said, sizeof said);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return;
  }
}
