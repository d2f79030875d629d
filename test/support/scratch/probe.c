// The only file of the scratch image: what tests need inside a guest that has no shell and no tools.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void copy(int from, int to) {
  char buffer[65536];
  ssize_t n;
  while ((n = read(from, buffer, sizeof buffer)) > 0)
    for (ssize_t at = 0, w; at < n; at += w)
      if ((w = write(to, buffer + at, (size_t)(n - at))) <= 0) return;
}

static int listener(const char *where) {
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)atoi(where))};
  int is_path = where[0] == '/', one = 1;
  snprintf(path.sun_path, sizeof path.sun_path, "%s", where);
  int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  int bad = is_path ? bind(fd, (struct sockaddr *)&path, sizeof path) : bind(fd, (struct sockaddr *)&port, sizeof port);
  return bad || listen(fd, 16) ? -1 : fd;
}

static int echo_server(const char *where) {
  int fd = listener(where);
  if (fd < 0) return perror(where), 1;
  puts("listening");
  fflush(stdout);
  signal(SIGCHLD, SIG_IGN);
  for (;;) {
    int connection = accept(fd, NULL, NULL);
    if (connection < 0) return 1;
    if (fork() == 0) {
      copy(connection, connection);
      _exit(0);
    }
    close(connection);
  }
}

int main(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "", *word = argc > 2 ? argv[2] : "";
  struct winsize size;
  if (strcmp(verb, "echo") == 0) {
    for (int i = 2; i < argc; i++) printf("%s%s", i > 2 ? " " : "", argv[i]);
    return puts("") == EOF;
  }
  if (strcmp(verb, "cat") == 0) return copy(0, 1), 0;
  if (strcmp(verb, "exit") == 0) return atoi(word);
  if (strcmp(verb, "raise") == 0) return raise(atoi(word));
  if (strcmp(verb, "env") == 0) return getenv(word) ? puts(getenv(word)) == EOF : 1;
  if (strcmp(verb, "size") == 0) return ioctl(0, TIOCGWINSZ, &size) ? 1 : printf("%d %d\n", size.ws_row, size.ws_col) < 0;
  if (strcmp(verb, "pause") == 0) return pause();
  if (strcmp(verb, "serve") == 0) return echo_server(word);
  fprintf(stderr, "usage: probe echo WORDS | cat | exit N | raise N | env NAME | size | pause | serve PORT|PATH\n");
  return 2;
}
