// Trees as tar streams: `copy send` and `copy receive`, the same code on both ends of a copy.
#ifndef BANGER_COPY_H
#define BANGER_COPY_H
// argv[0] is `copy`, argv[1] the mode. Used by the host's program and by `agent copy`.
int copy_main(int argc, char **argv);
#endif
