/* What the two halves of the compiled ROUGE engine share. */

#ifndef KILOWIT_ROUGE_KERNEL_H
#define KILOWIT_ROUGE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The tokens of all texts of a chunk: equal tokens have equal numbers. */
typedef struct {
    int32_t *numbers; /* of the tokens of all texts */
    bool *leads;      /* whether a token is the first of its line */
    int64_t *starts;  /* where the tokens of each text begin; one more for the end */
    int64_t num_numbers;
} Tokens;

/* Cut `text`, whose texts end with NUL, into tokens; false without memory. The arrays of `tokens` are the caller's. */
bool kilowit_tokenize(const uint8_t *text, int64_t size, int64_t num_texts, bool use_stemmer, Tokens *tokens);

#endif
