#include "copy.h"

int main(int argc, char **argv) { return copy_main(argc, argv); }
