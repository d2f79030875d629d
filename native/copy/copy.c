#define _GNU_SOURCE
#include "copy.h"
#include "receive.h"
#include "report.h"
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void) {
  fprintf(stderr,
          "usage: copy send [--base NAME] [--contents] [--progress-fd N] [--] PATH...\n"
          "       copy receive [--name NAME | --into | --as] [--owners] [--devices] [--sync] [--progress-fd N] [--] DEST\n");
  return COPY_USAGE;
}

static bool open_progress(const char *number) {
  char *end;
  errno = 0;
  long fd = strtol(number, &end, 10);
  if (errno || *end || end == number || fd < 0 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0) return false;
  copy_progress_open((int)fd);
  return true;
}

static bool is_name(const char *name) {
  return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strlen(name) <= 255;
}

static int send_main(int argc, char **argv) {
  static const struct option known[] = {{"base", required_argument, NULL, 'b'}, {"contents", no_argument, NULL, 'c'}, {"progress-fd", required_argument, NULL, 'p'}, {0}};
  struct copy_send_options options = {0};
  int option;
  while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1) {
    if (option == 'b') options.base = optarg;
    else if (option == 'c') options.contents = true;
    else if (option != 'p' || !open_progress(optarg)) return usage();
  }
  options.paths = argv + optind;
  options.path_count = argc - optind;
  if (options.path_count < 1) return usage();
  if ((options.base || options.contents) && options.path_count > 1) return usage();
  if (options.base && !is_name(options.base)) return usage();
  for (int i = 0; i < options.path_count; i++)
    if (!options.paths[i][0]) return usage();
  return copy_send(&options);
}

static int receive_main(int argc, char **argv) {
  static const struct option known[] = {{"into", no_argument, NULL, 'i'},   {"as", no_argument, NULL, 'a'},      {"name", required_argument, NULL, 'n'},
                                        {"owners", no_argument, NULL, 'o'}, {"devices", no_argument, NULL, 'd'}, {"sync", no_argument, NULL, 's'},
                                        {"progress-fd", required_argument, NULL, 'p'}, {0}};
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
    else if (option != 'p' || !open_progress(optarg)) return usage();
  }
  if (argc - optind != 1 || !argv[optind][0]) return usage();
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
