/*
 * Changes a JSON or MessagePack document inside a fuzz input by its structure, which bytes thrown
 * at random rarely do: members doubled, of other objects, in another order, of another type, under
 * an escaped name. Pure: the same seed makes the same change.
 */
#ifndef WEIR_TEST_FUZZ_MUTATE_H
#define WEIR_TEST_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the input afterwards, at most `room`; 0: there is no document in it, or no room. */
size_t mutate_structure(uint8_t *data, size_t size, size_t room, unsigned seed);

#endif
