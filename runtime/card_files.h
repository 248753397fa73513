/* The files of a model directory as a card names them. Cold: reads each file for its checksum. */
#ifndef WEIR_RUNTIME_CARD_FILES_H
#define WEIR_RUNTIME_CARD_FILES_H

#include "wire/record.h"

/* Fills source_path and the file members of *card; a file that is not there stays absent. `dir` is
 * an absolute path. Strings live in the arena. */
enum weir_status weir_card_find_files(struct weir_card *card, const char *dir,
                                      struct weir_arena *arena,
                                      struct weir_err *err) WEIR_MUST_CHECK;

#endif
