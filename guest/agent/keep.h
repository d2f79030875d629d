// Commands that go on without anybody: `agent keep`. One command is a directory with an unguessable name, owned by who runs it:
//
//   lock     locked by the keeper as long as it lives
//   state    lines `<key> <value>`, replaced by rename: at the start, and when the command has ended, from room taken before
//   out.<n>  pieces of the output, the oldest removed: records of channel u8, 3 zero bytes, length u32 (little endian), bytes
//
// What another user of the guest wrote there is never trusted: nothing is followed, every length is checked.
#ifndef BANGER_KEEP_H
#define BANGER_KEEP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KEEP_DIR "/run/banger/exec"
// Output kept of one command, in so many pieces: when they are full the oldest goes.
#define KEEP_LIMIT (8u << 20)
#define KEEP_PIECES 8
#define KEEP_RECORD 8
#define KEEP_CHUNK (32 * 1024)
// Ended commands that stay, and the part of the file system that they may fill.
#define KEEP_ENDED 64
#define KEEP_SHARE 8
#define KEEP_ID_MAX 32
// Longest command line in a state file; what is longer is cut.
#define KEEP_COMMAND 2048

int keep_main(int argc, char **argv);
// Makes the directory in which every user of the guest may keep commands; root only.
void keep_prepare(void);

// keep-log.c: the output as it is written.
struct keep_log {
  int dir, fd;
  uint32_t oldest, current;
  size_t piece, used;
  uint64_t bytes, dropped;
};
// `dir` stays the caller's. false with errno.
bool keep_log_open(struct keep_log *log, int dir, size_t limit);
// Never fails: what finds no room is counted as dropped.
void keep_log_put(struct keep_log *log, uint8_t channel, const uint8_t *data, size_t length);

// keep-state.c
struct keep_state {
  pid_t pid;
  // Milliseconds since 1970; 0 while it runs.
  uint64_t started, ended;
  // Of an ended one: code, or the signal's number when that is not 0.
  unsigned code, signal;
  uint64_t bytes, dropped;
  // Words parted by one space; bytes outside of `!` to `~` and `%` are %XX.
  char command[KEEP_COMMAND];
};
// Lost: its keeper was killed, so nobody knows how it ended.
enum keep_status { KEEP_RUNNING, KEEP_OVER, KEEP_LOST };
uint64_t keep_now(void);
bool keep_is_id(const char *text);
void keep_command_text(char text[KEEP_COMMAND], char *const *words);
// Takes the room that the next state needs: the end must be told also when the file system is full by then. false with errno.
bool keep_state_reserve(int dir);
// Uses up what was reserved.
bool keep_state_write(int dir, const struct keep_state *state);
// false: there is none that can be read.
bool keep_state_read(int dir, struct keep_state *state);
// Reads the state again where it must be newer.
enum keep_status keep_status(int dir, struct keep_state *state);
// Takes the lock of a new command's directory; the descriptor holds it. -1 with errno.
int keep_lock(int dir);
// The directory of one command, below `base`; -1 with errno.
int keep_open(int base, const char *id);
void keep_remove(int base, const char *id);

// keep-list.c
// Every command of `base`, oldest first, a line each. An exit code.
int keep_list(int base);
// Removes the oldest ended commands beyond what may stay. Who is not root removes none but its own.
void keep_prune(int base);

// keep-read.c: prints the kept output of the command whose id begins so. An exit code; with `follow` the command's own.
int keep_read(int base, const char *id, bool follow);
#endif
