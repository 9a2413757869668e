"""What the chats in the terminal and in the browser share: messages for the model, kept answers, settings, exports."""
