# slicerMacroBuildScriptedModule(NAME name SCRIPTS files... RESOURCES files... [WITH_GENERIC_TESTS] [WITH_SUBDIR])
#
# Files are copied to the modules' folder of the build tree under the very name they are given by; WITH_SUBDIR puts the
# name of the calling folder in between. What lies in that folder of the build tree when the extension is installed is
# what the package holds: a name that starts with "../" leaves the folder and is lost without a word.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(arg "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is missing")
  endif()

  set(modules_folder ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  if(arg_WITH_SUBDIR)
    get_filename_component(subfolder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(build_folder ${modules_folder}/${subfolder})
    set(installed ${build_folder}) # the folder with its name
  else()
    set(build_folder ${modules_folder})
    set(installed ${build_folder}/) # what is in it
  endif()

  set(copies)
  foreach(file IN LISTS arg_SCRIPTS arg_RESOURCES)
    set(source ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    if(NOT EXISTS ${source} OR IS_DIRECTORY ${source})
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: there is no file '${file}'")
    endif()
    set(copy ${build_folder}/${file})
    add_custom_command(
      OUTPUT ${copy}
      COMMAND ${CMAKE_COMMAND} -E copy ${source} ${copy}
      DEPENDS ${source}
      )
    list(APPEND copies ${copy})
  endforeach()
  add_custom_target(Copy${arg_NAME}Files ALL DEPENDS ${copies})

  install(DIRECTORY ${installed} DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR} COMPONENT RuntimeLibraries)
endfunction()
