"""From one raw record, in any of the usual formats, to a chat. It knows nothing about files.

Text that parses to messages, a request or a reply is that, in any field: what a value means goes before the shape that
its container gave it.
"""
