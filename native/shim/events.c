// A control channel of our own to QEMU, for two pieces of news: the machine was reset, so the console's next byte is of another boot; and why
// it shuts down. Heard here and not from the daemon, because a guest reboots or powers off while no daemon runs, too.
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Inside a JSON string these quotes would be escaped, so no text of a guest looks like it.
static const char reset_event[] = "\"event\": \"RESET\"", shutdown_event[] = "\"event\": \"SHUTDOWN\"", reason_key[] = "\"reason\": \"";
enum { MAX_READS = 16 };

void events_open(struct events *events, int *theirs) {
  // Both the capabilities' negotiation and everything else wait in the socket until QEMU comes to read.
  static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail(EXIT_SETUP, "socketpair: %s", strerror(errno));
  if (!write_all(pair[0], hello, sizeof hello - 1)) fail(EXIT_SETUP, "cannot write to a socket: %s", strerror(errno));
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  *events = (struct events){ .fd = pair[0] };
  *theirs = pair[1];
}

void events_quit(struct events *events) {
  static const char quit[] = "{\"execute\":\"quit\"}\n";
  // Next to nothing was ever sent on this socket, so it has room.
  if (events->fd >= 0) (void)write_all(events->fd, quit, sizeof quit - 1);
}

/// Keeps QEMU's word for why it shuts down; the first one counts, as for QEMU itself.
static void take_reason(struct events *events) {
  const char *at = strstr(events->line, reason_key);
  if (at == NULL || events->reason[0] != '\0') return;
  at += sizeof reason_key - 1;
  size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz-");
  if (length == 0 || length >= sizeof events->reason || at[length] != '"') return;
  memcpy(events->reason, at, length);
}

/// Reads one line; whether it tells of a reset.
static bool take_line(struct events *events) {
  events->line[events->length] = '\0';
  events->length = 0;
  if (strstr(events->line, shutdown_event) != NULL) take_reason(events);
  return strstr(events->line, reset_event) != NULL;
}

/// Lines that are longer than any that matters are read in part.
static bool take_bytes(struct events *events, const char *data, size_t size) {
  bool found = false;
  for (size_t i = 0; i < size; i++) {
    if (data[i] == '\n') found = take_line(events) || found;
    else if (data[i] != '\0' && events->length < sizeof events->line - 1) events->line[events->length++] = data[i];
  }
  return found;
}

bool events_take_reset(struct events *events) {
  char buffer[4096];
  bool found = false;
  for (int i = 0; i < MAX_READS && events->fd >= 0; i++) {
    ssize_t n = read(events->fd, buffer, sizeof buffer);
    if (n > 0) found = take_bytes(events, buffer, (size_t)n) || found;
    else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && errno == EAGAIN) return found;
    else { close(events->fd); events->fd = -1; }
  }
  return found;
}
