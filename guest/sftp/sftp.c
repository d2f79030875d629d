#define _GNU_SOURCE
#include "sftp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { EXIT_END = 0, EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_BAD_PACKET = 11 };
// Larger pipes than 64 KiB: fewer turns between us and the agent.
#define PIPE_SIZE (256 << 10)

static void (*const handlers[])(struct sftp_request *) = {
    [SFTP_OPEN] = sftp_open,         [SFTP_CLOSE] = sftp_close,       [SFTP_READ] = sftp_read,         [SFTP_WRITE] = sftp_write,
    [SFTP_LSTAT] = sftp_lstat,       [SFTP_FSTAT] = sftp_fstat,       [SFTP_SETSTAT] = sftp_setstat,   [SFTP_FSETSTAT] = sftp_fsetstat,
    [SFTP_OPENDIR] = sftp_opendir,   [SFTP_READDIR] = sftp_readdir,   [SFTP_REMOVE] = sftp_remove,     [SFTP_MKDIR] = sftp_mkdir,
    [SFTP_RMDIR] = sftp_rmdir,       [SFTP_REALPATH] = sftp_realpath, [SFTP_STAT] = sftp_stat,         [SFTP_RENAME] = sftp_rename,
    [SFTP_READLINK] = sftp_readlink, [SFTP_SYMLINK] = sftp_symlink,   [SFTP_EXTENDED] = sftp_extended,
};

// False: the packet is malformed. A type that is not known gets no answer, as with OpenSSH.
static bool serve_packet(struct sftp_request *r, bool *greeted) {
  uint8_t type = sftp_get_u8(r);
  uint32_t word = sftp_get_u32(r);
  if (r->bad) return false;
  if (type == SFTP_INIT) {
    *greeted = true;
    sftp_reply_version(word);
    return true;
  }
  if (!*greeted) return false;
  r->id = word;
  if (type < sizeof handlers / sizeof *handlers && handlers[type]) handlers[type](r);
  return !r->bad;
}

static int serve(void) {
  struct sftp_request request;
  bool greeted = false;
  for (;;) {
    enum sftp_input input = sftp_next(&request);
    bool bad = input == SFTP_INPUT_BAD;
    if (input == SFTP_INPUT_ERROR || !sftp_reply_room()) return EXIT_ERROR;
    if (input == SFTP_INPUT_PACKET) bad = !serve_packet(&request, &greeted);
    if (bad || input == SFTP_INPUT_END) {
      // What was asked before is answered.
      if (!sftp_flush()) return EXIT_ERROR;
      return bad ? EXIT_BAD_PACKET : EXIT_END;
    }
  }
}

int sftp_main(int argc, char **argv) {
  if (argc > 2) {
    fprintf(stderr, "usage: sftp [DIRECTORY]\n");
    return EXIT_USAGE;
  }
  // A client that has gone and a file size limit are errors of calls, not the end of us.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  if (argc == 2 && chdir(argv[1]) < 0) fprintf(stderr, "sftp: %s: %s\n", argv[1], strerror(errno));
  if (!sftp_input_open() || !sftp_output_open()) return EXIT_ERROR;
  fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
  fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
  return serve();
}
