#define _GNU_SOURCE
#include "copy.h"
#include "receive.h"
#include "report.h"
#include "send.h"
#include "wire.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define COMMON_OPTIONS \
  {"progress-fd", required_argument, NULL, 'p'}, {"port", required_argument, NULL, 'P'}, {"socket", required_argument, NULL, 'S'}, \
  {"hello", required_argument, NULL, 'H'}, {"stall", required_argument, NULL, 'L'}, {"floor", required_argument, NULL, 'F'}

static struct copy_wire_options wire;

static int usage(void) {
  fprintf(stderr,
          "usage: copy send [--base NAME] [--contents] [--progress-fd N] [DIRECT] [--] PATH...\n"
          "       copy send    --list FILE [--progress-fd N] [DIRECT] [--] BASE...\n"
          "       copy receive [--name NAME | --into | --as] [--owners] [--devices] [--sync] [--progress-fd N] [DIRECT] [--] DEST\n"
          "DIRECT: --port HELLO | --socket PATH --hello HELLO --stall MILLISECONDS --floor BYTES_PER_SECOND\n");
  return COPY_USAGE;
}

static bool open_progress(const char *number) {
  uint64_t fd;
  if (!tar_decimal(number, strlen(number), &fd) || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0) return false;
  copy_progress_open((int)fd);
  return true;
}

static bool take_hello(const char *digits) {
  for (size_t i = 0; i < COPY_HELLO * 2; i++) {
    char c = digits[i];
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0) return false;
    wire.hello[i / 2] = (uint8_t)(wire.hello[i / 2] << 4 | value);
  }
  return digits[COPY_HELLO * 2] == 0;
}

static bool take_number(const char *text, uint64_t most, uint64_t *value) {
  return tar_decimal(text, strlen(text), value) && *value > 0 && *value <= most;
}

// Which of them were said, in the order of the letters below.
enum { SAID_PORT = 1, SAID_SOCKET = 2, SAID_HELLO = 4, SAID_STALL = 8, SAID_FLOOR = 16 };
static unsigned said;

// An option of both verbs.
static bool take_common(int option, const char *value) {
  static const char letters[] = "PSHLF";
  const char *letter = option > 0 && option < 128 ? strchr(letters, option) : NULL;
  if (option == 'p') return open_progress(value);
  if (!letter || (said & 1u << (letter - letters))) return false;
  said |= 1u << (letter - letters);
  if (option == 'S') return *(wire.path = value) != 0;
  if (option == 'L') return take_number(value, INT_MAX, &wire.stall_ms);
  if (option == 'F') return take_number(value, UINT32_MAX, &wire.floor);
  return take_hello(value);
}

// All that belongs together, or nothing of it.
static bool use_wire(void) {
  if (said == SAID_PORT) wire.kind = COPY_PORT;
  else if (said == (SAID_SOCKET | SAID_HELLO | SAID_STALL | SAID_FLOOR)) wire.kind = COPY_SOCKET;
  copy_wire_use(&wire);
  return said == 0 || wire.kind != COPY_PIPE;
}

static bool is_name(const char *name) {
  return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strlen(name) <= 255;
}

static int send_main(int argc, char **argv) {
  static const struct option known[] = {{"base", required_argument, NULL, 'b'}, {"contents", no_argument, NULL, 'c'}, {"list", required_argument, NULL, 'l'}, COMMON_OPTIONS, {0}};
  struct copy_send_options options = {0};
  int option;
  while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1) {
    if (option == 'b') options.base = optarg;
    else if (option == 'c') options.contents = true;
    else if (option == 'l') options.list = optarg;
    else if (!take_common(option, optarg)) return usage();
  }
  options.paths = argv + optind;
  options.path_count = argc - optind;
  if (options.path_count < 1 || !use_wire()) return usage();
  if ((options.base || options.contents) && (options.path_count > 1 || options.list)) return usage();
  if (options.base && !is_name(options.base)) return usage();
  for (int i = 0; i < options.path_count; i++)
    if (!options.paths[i][0]) return usage();
  return copy_send(&options);
}

static int receive_main(int argc, char **argv) {
  static const struct option known[] = {{"into", no_argument, NULL, 'i'},   {"as", no_argument, NULL, 'a'},      {"name", required_argument, NULL, 'n'},
                                        {"owners", no_argument, NULL, 'o'}, {"devices", no_argument, NULL, 'd'}, {"sync", no_argument, NULL, 's'},
                                        COMMON_OPTIONS, {0}};
  struct copy_receive_options options = {.how = COPY_AUTO};
  int option;
  while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1) {
    if ((option == 'i' || option == 'a') && options.how != COPY_AUTO) return usage();
    if (option == 'i') options.how = COPY_INTO;
    else if (option == 'a') options.how = COPY_AS;
    else if (option == 'n') options.name = optarg;
    else if (option == 'o') options.owners = true;
    else if (option == 'd') options.devices = true;
    else if (option == 's') options.sync = true;
    else if (!take_common(option, optarg)) return usage();
  }
  if (argc - optind != 1 || !argv[optind][0] || !use_wire()) return usage();
  if (options.name && (options.how != COPY_AUTO || !is_name(options.name))) return usage();
  options.destination = argv[optind];
  return copy_receive(&options);
}

int copy_main(int argc, char **argv) {
  if (argc < 2) return usage();
  // A broken pipe is an error of the write, told as such.
  signal(SIGPIPE, SIG_IGN);
  opterr = 0;
  if (strcmp(argv[1], "send") == 0) return send_main(argc - 1, argv + 1);
  if (strcmp(argv[1], "receive") == 0) return receive_main(argc - 1, argv + 1);
  return usage();
}
