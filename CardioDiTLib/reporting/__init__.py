"""The house style of pages, charts, sheets and films: light, labelled, printable, whole without a network."""
