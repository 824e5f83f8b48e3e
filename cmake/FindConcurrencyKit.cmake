# SPDX-License-Identifier: BSD-2-Clause
#
# Finds Concurrency Kit (Debian: libck-dev), as ConcurrencyKit::ck. Its own pkg-config file sets
# preprocessor definitions that belong to the compiler, so it is not used. This module is installed
# with kith, because a program that links the static library needs it too.

find_path(ConcurrencyKit_INCLUDE_DIR ck_md.h)
find_library(ConcurrencyKit_LIBRARY ck)
mark_as_advanced(ConcurrencyKit_INCLUDE_DIR ConcurrencyKit_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ConcurrencyKit
    REQUIRED_VARS ConcurrencyKit_LIBRARY ConcurrencyKit_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "On Debian: apt-get install libck-dev")

if(ConcurrencyKit_FOUND AND NOT TARGET ConcurrencyKit::ck)
    add_library(ConcurrencyKit::ck INTERFACE IMPORTED)
    # As system headers: they are not held to kith's warnings. Most of Concurrency Kit is in its
    # headers, so a program depends on the library only if some object of it is really used.
    set_target_properties(ConcurrencyKit::ck PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${ConcurrencyKit_INCLUDE_DIR}"
        INTERFACE_LINK_LIBRARIES
            "-Wl,--push-state,--as-needed,${ConcurrencyKit_LIBRARY},--pop-state")
endif()
