# SPDX-License-Identifier: BSD-2-Clause
#
# The flags of kith's own code. None of them reaches a program that links kith.

set(KITH_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    -Wstrict-prototypes -Wmissing-prototypes)
if(KITH_WERROR)
    list(APPEND KITH_WARNINGS -Werror)
endif()

set(KITH_SANITIZE_FLAGS)
if(KITH_SANITIZE)
    set(KITH_SANITIZE_FLAGS "-fsanitize=${KITH_SANITIZE}" -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
    # Everything that is linked together has to agree, so these stand for the whole directory tree.
    add_compile_options(${KITH_SANITIZE_FLAGS})
    add_link_options(${KITH_SANITIZE_FLAGS})
endif()

# C17 without extensions of the language (the C library's are declared), with the warnings.
function(kith_c_target target)
    set_target_properties(${target} PROPERTIES
        C_STANDARD 17 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
    # Empty, as `#define _GNU_SOURCE` makes it: a file that says so itself is no redefinition.
    target_compile_definitions(${target} PRIVATE "_GNU_SOURCE=")
    target_compile_options(${target} PRIVATE ${KITH_WARNINGS})
endfunction()

# The library's own objects, which see the internal headers and Concurrency Kit's.
function(kith_internal_target target)
    kith_c_target(${target})
    target_include_directories(${target} PRIVATE
        "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/include")
    # Assertions name their file as it is in the tree, not where this machine has the tree.
    target_compile_options(${target} PRIVATE "-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=")
    target_link_libraries(${target} PRIVATE Threads::Threads ConcurrencyKit::ck)
    target_compile_definitions(${target} PRIVATE
        "KITH__VERSION=\"${PROJECT_VERSION}\"" $<$<BOOL:${KITH_MALLOC}>:KITH_MALLOC=1>)
endfunction()

# A program that uses the public headers only.
function(kith_program target)
    add_executable(${target} ${ARGN})
    kith_c_target(${target})
    target_link_libraries(${target} PRIVATE kith::kith Threads::Threads)
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${KITH_BIN_DIR}")
endfunction()
