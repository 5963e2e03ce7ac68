/* layout.h: where things lie in the emulated machine's memory. */
#define PAGES 0x8000              /* page tables, two pages */
#define STACK 0x80000             /* of the boot code and the supervisor, down */
#define SUPERVISOR 0x10000        /* supervisor.c, from the first sector on */
#define PROGRAM_FILE 0x10000000   /* the arguments (one page), then the program's ELF file */
#define PROGRAM_STACK 0x10000000  /* of the program, down */
#define BREAK_END 0xf000000       /* the program lies at 0x400000, its break grows to here */
#define MAPS 0x14000000           /* what it maps, up to the end of memory */
#define MEMORY_END 0x40000000
