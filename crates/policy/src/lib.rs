//! Policies: which call gets which action; diff, translate, compile, emit
