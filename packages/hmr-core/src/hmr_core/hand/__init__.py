"""The hand: its joints and their order, its model (template, blend shapes, skinning) and the synthetic one."""
