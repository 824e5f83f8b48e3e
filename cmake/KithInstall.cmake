# SPDX-License-Identifier: BSD-2-Clause
#
# What `cmake --install` puts where. The tree may be moved afterwards: neither the CMake package
# nor kith.pc contains an absolute path, unless an install directory was given as one.

include(CMakePackageConfigHelpers)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    COMPONENT dev FILES_MATCHING PATTERN "*.h")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT doc)
# What is for those who use the library. README.md is about the source tree, and links to all of it:
# it stays there. The guide links to nothing but itself.
install(FILES "${PROJECT_SOURCE_DIR}/CHANGES.md"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT doc OPTIONAL)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/docs/guide" DESTINATION "${CMAKE_INSTALL_DOCDIR}"
    COMPONENT doc OPTIONAL FILES_MATCHING PATTERN "*.md")
install(FILES "${PROJECT_SOURCE_DIR}/tools/gdb/kith-gdb.py"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/kith/gdb" COMPONENT dev)

# Two export sets, so that the package serves whoever has only the shared library's needs.
set(KITH_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/kith")
foreach(kind IN ITEMS shared static)
    install(TARGETS kith_${kind} EXPORT kith_${kind}
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT dev
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT dev)
    install(EXPORT kith_${kind} FILE kith-${kind}.cmake NAMESPACE kith::
        DESTINATION "${KITH_CMAKE_DIR}" COMPONENT dev)
endforeach()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/kithConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/kithConfig.cmake" INSTALL_DESTINATION "${KITH_CMAKE_DIR}")
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/kithConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${PROJECT_BINARY_DIR}/kithConfig.cmake"
    "${PROJECT_BINARY_DIR}/kithConfigVersion.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/FindConcurrencyKit.cmake"
    DESTINATION "${KITH_CMAKE_DIR}" COMPONENT dev)

# The directories of kith.pc, relative to where it lies.
set(KITH_PC_DIR "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(KITH_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
    set(KITH_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
else()
    file(RELATIVE_PATH up "${KITH_PC_DIR}" "${CMAKE_INSTALL_PREFIX}")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(KITH_PC_PREFIX "\${pcfiledir}/${up}")
    set(KITH_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(KITH_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
else()
    set(KITH_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/kith.pc.in" "${PROJECT_BINARY_DIR}/kith.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/kith.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
    COMPONENT dev)
