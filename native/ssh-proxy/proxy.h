// The way from ssh to a VM: the parts of `ssh-proxy`.
#ifndef BANGER_SSH_PROXY_H
#define BANGER_SSH_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What ssh itself exits with when it could not connect.
enum { EXIT_PROXY = 255, MAX_ENV = 8 };

struct proxy_options {
  const char *socket_path;
  /// As ssh has it, such as devbox.vm.
  const char *host;
  /// Program that starts the daemon; NULL: none is started.
  const char *launcher;
  /// NAME=value for the launcher.
  char *env[MAX_ENV];
  size_t env_count;
  bool fdpass;
};

// util.c
/// Prints `banger: <text>` on stderr and ends the process.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// Milliseconds of the monotonic clock.
int64_t now_ms(void);
/// Waits until `fd` is ready for `events`; false when the deadline comes first.
bool wait_ready(int fd, short events, int64_t deadline_ms);
void set_nonblocking(int fd, bool on);

// gate.c
/// A connection to the VM: connects to the daemon's gate (starting the daemon when nobody listens and `launcher` is set), names the VM
/// and takes the answer line, and not a byte more. Does not return without a connection, nor when the gate refuses.
int gate_open(const struct proxy_options *options);

// start.c
/// Runs `launcher daemon start`, as an argument array, and waits for its end. Does not return when it fails.
void start_daemon(const struct proxy_options *options);

// fdpass.c
/// Gives `fd` to ssh the way its ProxyUseFdpass takes it. Does not return when that fails.
void pass_fd(int channel, int fd);

// relay.c
/// Carries bytes between stdin, stdout and `fd` until both directions have ended.
void relay(int fd);

#endif
