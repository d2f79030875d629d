// Commands that go on without anybody: `agent keep`.
#ifndef BANGER_KEEP_H
#define BANGER_KEEP_H
int keep_main(int argc, char **argv);
#endif
