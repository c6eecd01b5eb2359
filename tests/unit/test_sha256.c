/* SPDX-License-Identifier: MIT */
#include "common/sha256.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

struct digest_case {
    const char *text, *hex;
};

/* The examples of FIPS 180-4 and its companions. */
static const struct digest_case cases[] = {
    { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
      "mnopqrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
};

static void digest_table(void **state)
{
    char hex[SHA256_HEX_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        row_str(cases[i].text, sha256_hex(cases[i].text, strlen(cases[i].text), hex), cases[i].hex);
}

static void a_million_letters_in_uneven_pieces(void **state)
{
    static char letters[1000];
    unsigned char digest[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];
    struct sha256 h;
    size_t left = 1000000;

    memset(letters, 'a', sizeof(letters));
    sha256_init(&h);
    for (size_t n = 1; left > 0; n = n * 7 % 997) {
        size_t piece = n < left ? n : left;
        sha256_update(&h, letters, piece);
        left -= piece;
    }
    sha256_final(&h, digest);
    assert_string_equal(
        sha256_print(digest, hex), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_table),
        cmocka_unit_test(a_million_letters_in_uneven_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
