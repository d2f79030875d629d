// A control channel of our own to QEMU, for one piece of news: the machine was reset, so the console's next byte is of another boot.
// Heard here and not from the daemon, because a guest reboots while no daemon runs, too.
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Inside a JSON string these quotes would be escaped, so no text of a guest looks like it.
static const char reset_event[] = "\"event\": \"RESET\"";
enum { RESET_LENGTH = sizeof reset_event - 1, MAX_READS = 16 };

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

/// Follows the pattern through the bytes; its first character comes once more in it, after which the match begins anew.
static bool match(struct events *events, const char *data, size_t size) {
  bool found = false;
  for (size_t i = 0; i < size; i++) {
    if (data[i] == reset_event[events->matched]) events->matched++;
    else events->matched = data[i] == reset_event[0] ? 1 : 0;
    if (events->matched < RESET_LENGTH) continue;
    events->matched = 0;
    found = true;
  }
  return found;
}

bool events_take_reset(struct events *events) {
  char buffer[4096];
  bool found = false;
  for (int i = 0; i < MAX_READS; i++) {
    ssize_t n = read(events->fd, buffer, sizeof buffer);
    if (n > 0) found = match(events, buffer, (size_t)n) || found;
    else if (n < 0 && errno == EINTR) continue;
    else if (n < 0 && errno == EAGAIN) return found;
    else { close(events->fd); events->fd = -1; return found; }
  }
  return found;
}
