// Package config holds what an operator may set, in one table: each setting has one key, which is its place in
// the YAML file, its flag (--amqp.listen) and its environment variable (POSTHOUSE_AMQP_LISTEN). A later source
// wins: default, file, environment, flag.
//
// It owns the reading and checking of values and says where a bad one came from (file, line and column; variable;
// flag), what is wrong and what to write instead. It does not know what the settings are for.
package config
