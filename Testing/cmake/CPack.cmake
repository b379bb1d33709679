# Slicer writes the package's description here. These are its conditions.
foreach(variable EXTENSION_LICENSE_FILE EXTENSION_README_FILE)
  if(NOT EXISTS "${${variable}}")
    message(FATAL_ERROR "${variable} names a file that does not exist: '${${variable}}'")
  endif()
endforeach()

foreach(variable HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${variable}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${variable} is not set")
  endif()
  # Slicer hands the values on without quotes: a semicolon would cut them in pieces
  if("${EXTENSION_${variable}}" MATCHES ";")
    message(FATAL_ERROR "EXTENSION_${variable} holds a semicolon")
  endif()
endforeach()

# Slicer says this in passing and makes no package
if(NOT EXTENSION_NAME STREQUAL PROJECT_NAME)
  message(FATAL_ERROR "EXTENSION_NAME '${EXTENSION_NAME}' is not PROJECT_NAME '${PROJECT_NAME}'")
endif()
