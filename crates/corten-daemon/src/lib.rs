//! The daemon role: reads settings, builds the parts, joins them, serves; nothing else.
